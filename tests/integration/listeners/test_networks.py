"""Networks, proxies and Unix sockets of a running platform's listeners."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from modelyard.testing.platform import running_platform
from servers.oidc import running_provider


def access_lines(platform):
    return [json.loads(line) for line in (platform.home / "logs" / "access-0.log").read_text().splitlines()]


def peers(platform, request_id):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        file = platform.home / "logs" / "access-0.log"
        found = [line["peer"] for line in access_lines(platform) if line["request_id"] == request_id] if file.exists() else []
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{request_id} is not in the access log")


def test_a_denied_network_is_not_listened_to(tmp_path):
    settings = {"deny_networks": "127.0.0.0/8", "management_allow_networks": "10.0.0.0/8"}
    with running_platform(tmp_path / "home", workers=1, settings=settings) as platform:
        for url in (platform.inference, platform.url):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{url}/livez", timeout=10)
        client = (
            "import sys, grpc, tritonclient.grpc as t\n"
            "try: t.InferenceServerClient(sys.argv[1]).is_server_live()\n"
            "except t.InferenceServerException as error: print(error.status())"
        )
        address = json.loads((platform.home / "run" / "supervisor.json").read_text())["grpc_address"]
        done = subprocess.run([sys.executable, "-c", client, address], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "StatusCode.PERMISSION_DENIED", done.stderr


def sent_to_sign_in(platform, issuer):
    """Where people shall come back to, and their cookie, when a proxy says that they came by TLS to a name."""
    admin = {"authorization": f"Bearer {platform.admin_key}"}
    httpx.put(f"{platform.url}/api/v1/providers/corp", headers=admin, json={"issuer": issuer, "client_id": "x"}).raise_for_status()
    said = {"host": "models.example", "x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    answer = httpx.get(f"{platform.url}/api/v1/sign-in/oidc/corp", headers=said)
    assert answer.status_code == 303, answer.text
    return parse_qs(urlsplit(answer.headers["location"]).query)["redirect_uri"][0], answer.headers["set-cookie"]


def test_who_the_client_is_and_that_it_came_by_tls_is_what_a_trusted_proxy_says(tmp_path):
    with (
        running_provider() as issuer,
        running_platform(tmp_path / "home", workers=1, settings={"trusted_proxies": "127.0.0.1"}) as platform,
    ):
        redirect, cookie = sent_to_sign_in(platform, issuer)
        assert redirect == "https://models.example/api/v1/sign-in/oidc/corp/callback"
        assert "Secure" in cookie
        headers = {
            "authorization": f"Bearer {platform.admin_key}",
            "x-forwarded-for": "198.51.100.1, 203.0.113.9",
            "x-request-id": "by-proxy",
        }
        httpx.get(f"{platform.inference}/v2", headers=headers)
        assert peers(platform, "by-proxy") == "203.0.113.9"
        body = {"label": "audited"}
        made = httpx.post(f"{platform.url}/api/v1/keys", headers=headers, json=body)
        assert made.status_code == 201, made.text
        events = httpx.get(f"{platform.url}/api/v1/audit", headers=headers).json()
        assert {event["address"] for event in events if event["action"] == "key.create" and event["address"]} == {"203.0.113.9"}


def test_nobody_else_is_believed(tmp_path):
    with running_provider() as issuer, running_platform(tmp_path / "home", workers=1) as platform:
        redirect, cookie = sent_to_sign_in(platform, issuer)
        assert redirect.startswith("http://models.example/")
        assert "Secure" not in cookie
        headers = {"authorization": f"Bearer {platform.admin_key}", "x-forwarded-for": "203.0.113.9", "x-request-id": "made-up"}
        httpx.get(f"{platform.inference}/v2", headers=headers)
        assert peers(platform, "made-up") == "127.0.0.1"
        httpx.post(f"{platform.url}/api/v1/keys", headers=headers, json={"label": "audited"})
        events = httpx.get(f"{platform.url}/api/v1/audit", headers=headers).json()
        assert {event["address"] for event in events if event["action"] == "key.create" and event["address"]} == {"127.0.0.1"}


def test_both_listeners_on_unix_sockets(tmp_path):
    inference, management = tmp_path / "i.sock", tmp_path / "m.sock"
    settings = {"socket": str(inference), "management_socket": str(management), "socket_mode": "660", "trusted_proxies": "unix"}
    with running_platform(tmp_path / "home", workers=1, settings=settings) as platform:
        assert (platform.inference, platform.url) == (f"unix:{inference}", f"unix:{management}")
        assert stat.S_IMODE(inference.stat().st_mode) == 0o660
        assert "ready:          yes" in platform.run("status").stdout
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(inference)), base_url="http://modelyard") as client:
            assert client.get("/readyz").status_code == 200
            headers = {"authorization": f"Bearer {platform.admin_key}", "x-forwarded-for": "203.0.113.9", "x-request-id": "by-socket"}
            assert client.get("/v2", headers=headers).status_code == 200
        assert peers(platform, "by-socket") == "203.0.113.9"
    assert not inference.exists()
    assert not management.exists()


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("ALLOW_NETWORKS", "10.0.0.0/99", "MODELYARD_ALLOW_NETWORKS"),
        ("TRUSTED_PROXIES", "proxy.example", "MODELYARD_TRUSTED_PROXIES"),
        ("SOCKET_MODE", "rw", "MODELYARD_SOCKET_MODE"),
        ("TLS_KEY", "/nowhere", "MODELYARD_TLS_CERTIFICATE"),
    ],
)
def test_settings_that_cannot_be_used_are_told_at_the_start(tmp_path, monkeypatch, setting, value, told):
    from modelyard.core.errors import InvalidRequest
    from modelyard.server.entrance import check
    from modelyard.server.settings_reading import assemble

    with pytest.raises(InvalidRequest, match=told):
        check(assemble({f"MODELYARD_{setting}": value, "MODELYARD_HOME": str(tmp_path)}).settings)
