"""A server in OpenAI's form, in a thread: streams words, and fails as it is told."""

from __future__ import annotations

import json
import time

from servers.threaded import Threaded


class OpenAIShaped(Threaded):
    """Answers completions and Open Inference calls. ``fail`` says what the next requests get instead: a status, ``cut`` or
    ``hang``. ``keeps`` lets it keep connections for further calls. ``calls`` are functions that answers call: a name, and arguments
    in two pieces."""

    def __init__(self, key=""):
        super().__init__()
        self.key = key
        self.fail = []
        self.requests = []
        self.keys = []
        self.word_s = 0.0
        self.broken_off = 0
        self.connections = set()
        self.keeps = False
        self.calls = []

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.requests.append((handler.path, body))
        self.connections.add(handler.client_address)
        self.keys.append(handler.headers.get("authorization", ""))
        what = self.fail.pop(0) if self.fail else ""
        if self.key and self.keys[-1] != f"Bearer {self.key}":
            what = 401
        if what == "hang":
            time.sleep(2)
        if isinstance(what, int):
            self.send(handler, what, json.dumps({"error": {"message": f"status {what} as you wished"}}).encode())
        elif handler.path.startswith("/v2/"):
            told = body["inputs"][0]
            doubled = [{**told, "name": "y", "data": [2 * item for item in told["data"]]}]
            self.send(handler, 200, json.dumps({"outputs": doubled}).encode())
        else:
            self._stream(handler, body, cut=what == "cut")

    def _stream(self, handler, body, cut):
        prompt = body.get("prompt") or body["messages"][-1]["content"]
        words = [f"{word} " for word in (prompt.split() if isinstance(prompt, str) else prompt)][: body.get("max_tokens", 1000)]
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header(*(("transfer-encoding", "chunked") if self.keeps else ("connection", "close")))
        handler.end_headers()
        chat = "messages" in body
        try:
            for number, word in enumerate(words):
                if cut and number == 1:
                    handler.close_connection = True
                    return
                piece = {"delta": {"content": word}} if chat else {"text": word}
                if body.get("logprobs"):
                    piece["logprobs"] = told(word, chat=chat)
                self._event(handler, {"choices": [{"index": 0, **piece, "finish_reason": None}]})
                time.sleep(self.word_s)
            for number, (name, *pieces) in enumerate(self.calls):
                for function in ({"name": name, "arguments": pieces[0]}, {"arguments": pieces[1]}):
                    delta = {"tool_calls": [{"index": number, "function": function}]}
                    self._event(handler, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            self._event(handler, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            usage = {"prompt_tokens": 7, "completion_tokens": len(words), "prompt_tokens_details": {"cached_tokens": 3}}
            self._event(handler, {"choices": [], "usage": usage})
            self._write(handler, b"data: [DONE]\n\n")
            if self.keeps:
                handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.broken_off += 1
        handler.close_connection = not self.keeps

    def _event(self, handler, document):
        self._write(handler, f"data: {json.dumps(document)}\n\n".encode())
        handler.wfile.flush()

    def _write(self, handler, piece):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.keeps else piece)


def told(word, *, chat):
    """Log probabilities as each of the two interfaces has them."""
    if chat:
        one = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
        return {"content": [{**one, "top_logprobs": [one]}]}
    return {"tokens": [word], "token_logprobs": [-0.5], "top_logprobs": [{word: -0.5}]}
