"""A server in OpenAI's form, in a thread: streams words, and fails as it is told."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OpenAIShaped:
    """Answers completions and Open Inference calls. ``fail`` says what the next requests get instead: a status, ``cut`` or ``hang``."""

    def __init__(self, key=""):
        self.key = key
        self.fail = []
        self.requests = []
        self.keys = []
        self.word_s = 0.0
        self.broken_off = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.requests.append((handler.path, body))
        self.keys.append(handler.headers.get("authorization", ""))
        what = self.fail.pop(0) if self.fail else ""
        if self.key and self.keys[-1] != f"Bearer {self.key}":
            what = 401
        if what == "hang":
            time.sleep(2)
        if isinstance(what, int):
            self._whole(handler, what, {"error": {"message": f"status {what} as you wished"}})
        elif handler.path.startswith("/v2/"):
            told = body["inputs"][0]
            doubled = [{**told, "name": "y", "data": [2 * item for item in told["data"]]}]
            self._whole(handler, 200, {"outputs": doubled})
        else:
            self._stream(handler, body, cut=what == "cut")

    def _whole(self, handler, status, document):
        content = json.dumps(document).encode()
        handler.send_response(status)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _stream(self, handler, body, cut):
        prompt = body.get("prompt") or body["messages"][-1]["content"]
        words = [f"{word} " for word in prompt.split()][: body.get("max_tokens", 1000)]
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        chat = "messages" in body
        try:
            for number, word in enumerate(words):
                if cut and number == 1:
                    handler.close_connection = True
                    return
                piece = {"delta": {"content": word}} if chat else {"text": word}
                self._event(handler, {"choices": [{"index": 0, **piece, "finish_reason": None}]})
                time.sleep(self.word_s)
            self._event(handler, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            usage = {"prompt_tokens": 7, "completion_tokens": len(words), "prompt_tokens_details": {"cached_tokens": 3}}
            self._event(handler, {"choices": [], "usage": usage})
            handler.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.broken_off += 1
        handler.close_connection = True

    def _event(self, handler, document):
        handler.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
        handler.wfile.flush()
