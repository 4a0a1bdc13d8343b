"""Signing, and which addresses are safe to call."""

import base64
import contextlib
import hashlib
import hmac
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.serving.webhook_sender import sender
from modelyard.serving.webhooks import WebhookPolicy, check_url, resolve, signature_headers

STRICT = WebhookPolicy()


def test_the_signature_covers_id_time_and_body():
    headers = signature_headers(b"key", "msg", 17, b'{"a":1}')
    digest = hmac.new(b"key", b'msg.17.{"a":1}', hashlib.sha256).digest()
    assert headers == {"webhook-id": "msg", "webhook-timestamp": "17", "webhook-signature": "v1," + base64.b64encode(digest).decode()}


@pytest.mark.parametrize("url", ["https://example.org", "http://example.org:8080/a?b=c", "http://10.0.0.1/x", "http://[2001:db8::1]/x"])
def test_ordinary_addresses_are_accepted(url):
    assert check_url(url, STRICT).hostname


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "file:///etc/passwd",
        "https://",
        "https://user:pass@example.org",
        "https://example.org:99999",
        "https://exam ple.org",
        "https://exämple.org",
        "http://a\\@169.254.169.254/",
        "http://[::1",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://224.0.0.1/",
        "https://example.org/" + "a" * 2000,
    ],
)
def test_addresses_that_are_not_safe_are_refused(url):
    with pytest.raises(InvalidRequest):
        check_url(url, STRICT)


def test_settings_open_what_is_closed_by_default():
    check_url("http://127.0.0.1/", WebhookPolicy(allow_loopback=True))
    check_url("http://169.254.1.1/", WebhookPolicy(allow_link_local=True))


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "fe80::1%1", "0.0.0.0"])
def test_a_name_that_leads_to_such_an_address_is_refused(monkeypatch, address):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, 80)) for name in ("93.184.215.14", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(InvalidRequest, match="not allowed"):
        resolve(check_url("http://example.org", STRICT), STRICT)


@given(st.text(max_size=40) | st.from_regex(r"https?://[\[\]0-9a-f:.%@/\\]{0,30}", fullmatch=True))
def test_any_text_is_accepted_or_refused_with_a_sentence(url):
    with contextlib.suppress(InvalidRequest):
        assert check_url(url, STRICT).scheme in ("http", "https")


@pytest.fixture
def receiver():
    seen = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(302 if self.path == "/moved" else 204)
            self.send_header("location", "http://169.254.169.254/")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.seen = seen
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_sender_posts_to_the_address_it_checked_and_follows_nothing(receiver):
    post = sender(WebhookPolicy(allow_loopback=True))
    url = f"http://localhost:{receiver.server_port}"
    assert post(url + "/hook?a=b", {"webhook-id": "1"}, b"{}") == 204
    assert post(url + "/moved", {}, b"{}") == 302
    path, headers, body = receiver.seen[0]
    assert (path, headers["webhook-id"], headers["host"], body) == ("/hook?a=b", "1", f"localhost:{receiver.server_port}", b"{}")
    with pytest.raises(InvalidRequest):
        sender(STRICT)(url, {}, b"{}")
    receiver.server_close()
    with pytest.raises(OSError, match="could not be sent"):
        post(url, {}, b"{}")
