"""TLS on every listener of a running platform, with real clients."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time

import httpx
import pytest

from certificates import Authority
from integration.served import half_plus_two
from modelyard.testing.platform import running_platform


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def platform(authority, tmp_path_factory):
    home = tmp_path_factory.mktemp("tls") / "home"
    settings = {"tls_certificate": str(authority.issue("server")), "tls_handshake_seconds": "1"}
    with running_platform(home, workers=1, settings=settings) as running:
        running.environment["MODELYARD_CA"] = str(authority.file)
        yield running


def trusting(authority):
    return ssl.create_default_context(cafile=authority.file)


def shown(url, authority):
    """The certificate that a listener shows now, as its serial number."""
    address = (httpx.URL(url).host, httpx.URL(url).port)
    with socket.create_connection(address, 10) as plain, trusting(authority).wrap_socket(plain, server_hostname="localhost") as tls:
        return tls.getpeercert()["serialNumber"]


def test_both_listeners_speak_tls_and_nothing_else(platform, authority):
    for url in (platform.url, platform.inference):
        assert url.startswith("https://")
        assert httpx.get(f"{url}/readyz", verify=trusting(authority)).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url.replace('https', 'http')}/readyz", timeout=10)


def test_the_protocol_is_agreed_on_and_old_versions_are_refused(platform, authority):
    host, port = httpx.URL(platform.inference).host, httpx.URL(platform.inference).port
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((host, port), 10) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() == "TLSv1.3"
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode != 0


def test_command_line_and_sdk_trust_the_authority_they_are_told_of(platform):
    assert "ready:          yes" in platform.run("status").stdout
    without = platform.environment.pop("MODELYARD_CA")
    try:
        refused = platform.run("status", check=False)
    finally:
        platform.environment["MODELYARD_CA"] = without
    assert refused.returncode != 0
    assert "MODELYARD_CA" in refused.stderr


def test_asynchronous_predictions_still_reach_the_workers(platform, authority, tmp_path):
    """The controller calls the inference listener itself; it needs no trust in the certificate for that. What measures it, does."""
    assert (platform.home / "run" / "calls.sock").is_socket()
    half_plus_two(tmp_path / "half.onnx")
    platform.run("push", str(tmp_path / "half.onnx"), "--name", "half")
    platform.run("deploy", "half@1")
    headers = {"authorization": f"Bearer {platform.admin_key}"}
    with httpx.Client(base_url=platform.inference, verify=trusting(authority), headers=headers) as client:
        where = client.post("/v1/deployments/half/predictions", json={"records": [{"x": 1.0}]}).headers["location"]
        until = time.monotonic() + 30
        while (found := client.get(where).json())["status"] not in {"succeeded", "failed"} and time.monotonic() < until:
            time.sleep(0.05)
    assert found["result"]["predictions"] == [{"y": 2.5}], found
    (measured,) = platform.json("bench", "half", "-c", "2", "--seconds", "0.2")["measured"]
    assert (measured["failed"], measured["per_second"] > 0) == (0, True)


def test_a_slow_handshake_is_cut_off_and_delays_nobody(platform, authority):
    address = (httpx.URL(platform.inference).host, httpx.URL(platform.inference).port)
    slow = [socket.create_connection(address, 10) for _ in range(20)]
    try:
        for connection in slow:
            connection.send(b"\x16\x03\x01")
        assert httpx.get(f"{platform.inference}/readyz", verify=trusting(authority), timeout=5).status_code == 200
        began = time.monotonic()
        for connection in slow:
            connection.settimeout(15)
            assert connection.recv(1) == b""
        assert time.monotonic() - began < 15
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("listener", ["inference", "url"])
def test_a_new_certificate_is_taken_in_and_a_broken_one_is_not(platform, authority, listener):
    url = getattr(platform, listener)
    context = trusting(authority)
    with httpx.Client(verify=context) as kept:
        kept.get(f"{url}/readyz")
        before = shown(url, authority)
        file = authority.folder / "server.pem"
        authority.issue("server", file=file)
        until = time.monotonic() + 20
        while (after := shown(url, authority)) == before and time.monotonic() < until:
            time.sleep(0.1)
        assert after != before
        good = file.read_bytes()
        file.write_bytes(good[: len(good) // 2])
        log = platform.home / "logs" / ("worker-0.log" if listener == "inference" else "controller.log")
        until = time.monotonic() + 20
        while "The new certificate is not used" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.1)
        assert "The new certificate is not used" in log.read_text()
        assert shown(url, authority) == after
        assert kept.get(f"{url}/readyz").status_code == 200
        file.write_bytes(good)


def test_grpc_takes_in_a_new_certificate_and_no_broken_one(platform, authority):
    url = "https://" + json.loads((platform.home / "run" / "supervisor.json").read_text())["grpc_address"]
    before, file = shown(url, authority), authority.folder / "server.pem"
    authority.issue("server", file=file)
    until = time.monotonic() + 20
    while (after := shown(url, authority)) == before and time.monotonic() < until:
        time.sleep(0.1)
    assert after != before
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    try:
        for _ in range(3):
            assert shown(url, authority) == after
    finally:
        file.write_bytes(good)


def test_a_certificate_that_cannot_be_used_stops_the_start_with_one_sentence(tmp_path):
    file = tmp_path / "server.pem"
    file.write_text("nothing")
    environment = os.environ | {"MODELYARD_TLS_CERTIFICATE": str(file)}
    command = [sys.executable, "-m", "modelyard.cli.main", "up", "--home", str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


CLIENT = """
import sys
import grpc, tritonclient.grpc as triton
address, ca, chain = sys.argv[1:4]
read = lambda path: open(path, "rb").read() if path else None
credentials = grpc.ssl_channel_credentials(read(ca), read(chain), read(chain))
with triton.InferenceServerClient(address, creds=credentials, ssl=True) as client:
    print(client.is_server_live())
"""


def grpc_client(platform, authority, chain=""):
    address = (platform.home / "run" / "supervisor.json").read_text().partition('"grpc_address":"')[2].partition('"')[0]
    command = [sys.executable, "-c", CLIENT, address, str(authority.file), str(chain)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_grpc_speaks_tls_with_triton_s_client(platform, authority):
    done = grpc_client(platform, authority)
    assert done.stdout.strip() == "True", done.stderr
