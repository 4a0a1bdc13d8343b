"""Spans of calls at a real OTLP receiver: HTTP and protobuf, as a collector takes them."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelyard.testing.platform import running_platform

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Receiver(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(20)


def test_sampled_calls_become_spans_in_their_caller_s_trace(tmp_path, receiver):
    settings = {"span_endpoint": f"http://127.0.0.1:{receiver.server_port}/v1/traces", "span_share": "0"}
    with running_platform(tmp_path / "home", workers=1, settings=settings) as platform:
        headers = {"authorization": f"Bearer {platform.admin_key}"}
        sampled = headers | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "sampled"}
        told = httpx.get(f"{platform.inference}/v2", headers=sampled).headers["traceresponse"]
        httpx.get(f"{platform.inference}/v2", headers=headers | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"})
        httpx.get(f"{platform.inference}/v2", headers=headers)
    until = time.monotonic() + 20
    while not receiver.spans and time.monotonic() < until:
        time.sleep(0.05)
    (span,) = receiver.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex()) == (TRACE, "00f067aa0ba902b7", told.split("-")[2])
    attributes = {entry.key: entry.value for entry in span.attributes}
    assert attributes["modelyard.request_id"].string_value == "sampled"
    assert attributes["http.response.status_code"].int_value == 200
    assert span.end_time_unix_nano >= span.start_time_unix_nano > (time.time() - 120) * 1e9


def test_without_an_endpoint_nothing_of_it_is_loaded():
    import subprocess
    import sys

    code = "import sys, modelyard.server.wiring.worker; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.strip() == "False"
