"""The predict call behind an asynchronous prediction."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelyard.serving.delegation import Delegation
from modelyard.serving.prediction_caller import LoopbackCaller
from modelyard.serving.prediction_files import Submission, new_id

DELEGATION = Delegation(b"s" * 16)


@pytest.fixture
def listener():
    seen = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(429)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.seen = seen
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def submission(**more):
    return Submission(id=new_id(1), workspace_id=1, key_id=4, deployment="demo", body=json.dumps({"records": ["é"]}), **more)


def test_it_calls_predict_as_the_submitting_key(listener):
    caller = LoopbackCaller(f"http://127.0.0.1:{listener.server_port}", DELEGATION.headers)
    assert caller(submission(version="champion", request_id="r-1")) == (429, b"{}")
    plain = submission()
    caller(plain)
    caller.close()
    (path, headers, body), (other, other_headers, _) = listener.seen
    assert (path, other) == ("/v1/deployments/demo/predict?version=champion", "/v1/deployments/demo/predict")
    assert headers["authorization"] == "Bearer " + DELEGATION.secret_of(4)
    assert (headers["x-request-id"], other_headers["x-request-id"]) == ("r-1", plain.id)
    assert json.loads(body) == {"records": ["é"]}


def test_a_listener_that_is_away_is_an_os_error(listener):
    caller = LoopbackCaller(f"http://127.0.0.1:{listener.server_port}", DELEGATION.headers)
    listener.server_close()
    with pytest.raises(OSError, match=r"."):
        caller(submission())
    caller.close()
