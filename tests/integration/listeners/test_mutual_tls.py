"""Listeners that ask clients for certificates."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time

import httpx
import pytest

from acceptance.graphs import write_adder
from certificates import Authority
from integration.listeners.test_tls import grpc_client
from modelyard.testing.platform import running_platform


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def platform(authority, tmp_path_factory):
    home = tmp_path_factory.mktemp("mtls") / "home"
    settings = {"tls_certificate": str(authority.issue("server")), "tls_client_ca": str(authority.file)}
    with running_platform(home, workers=1, settings=settings) as running:
        running.environment |= {"MODELYARD_CA": str(authority.file), "MODELYARD_CERTIFICATE": str(authority.issue("alice"))}
        yield running


def context(authority, chain=None):
    made = ssl.create_default_context(cafile=authority.file)
    if chain is not None:
        made.load_cert_chain(chain)
    return made


def test_who_shows_a_good_certificate_is_answered(platform, authority):
    for url in (platform.inference, platform.url):
        assert httpx.get(f"{url}/readyz", verify=context(authority, authority.issue("bob"))).status_code == 200
    assert "ready:          yes" in platform.run("status").stdout


def test_who_shows_none_or_a_foreign_one_is_not(platform, authority, tmp_path):
    foreign = Authority(tmp_path / "foreign", "Other CA").issue("mallory")
    for url in (platform.inference, platform.url):
        for chain in (None, foreign):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{url}/readyz", verify=context(authority, chain))
    without = platform.environment.pop("MODELYARD_CERTIFICATE")
    try:
        refused = platform.run("status", check=False)
    finally:
        platform.environment["MODELYARD_CERTIFICATE"] = without
    assert refused.returncode != 0
    assert "MODELYARD_CERTIFICATE" in refused.stderr


def test_grpc_asks_too(platform, authority):
    assert grpc_client(platform, authority, authority.issue("carol")).stdout.strip() == "True"
    refused = grpc_client(platform, authority)
    assert refused.returncode != 0


# Certificates that stand for keys


@pytest.fixture(scope="module")
def bound(platform, authority, tmp_path_factory):
    """``alice`` stands for a key that may call ``adder``, by her certificate; every ``CN=pump`` for another, by subject."""
    file = write_adder(tmp_path_factory.mktemp("adder") / "adder.onnx", 1.0)
    platform.run("push", str(file), "--name", "adder")
    platform.run("deploy", "adder@1")
    keys = [json.loads(platform.run("keys", "create", "--label", name, "--json").stdout)["id"] for name in ("alice", "pump")]
    told = platform.run("certificates", "bind", keys[0], "--file", str(authority.folder / "alice.pem")).stdout
    assert "sha256:" in told
    platform.run("certificates", "bind", keys[1], "--subject", "CN=pump,O=Example")
    return keys


CALL = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}


def called(platform, authority, chain, headers=None):
    return httpx.post(f"{platform.inference}/v2/models/adder/infer", json=CALL, verify=context(authority, chain), headers=headers)


def test_a_certificate_stands_for_its_key_and_no_other(platform, authority, bound):
    for chain in (authority.folder / "alice.pem", authority.issue("pump")):
        answer = called(platform, authority, chain)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [2.0, 3.0]
    assert called(platform, authority, authority.issue("bob")).status_code == 401
    again = authority.issue("alice", file=authority.folder / "other-alice.pem")
    assert called(platform, authority, again).status_code == 401  # the same name, another certificate
    forged = {"authorization": "Bearer sha256:" + "0" * 64}
    assert called(platform, authority, authority.folder / "alice.pem", forged).status_code == 401  # a wrong key is a wrong key
    listed = httpx.get(f"{platform.inference}/v1/deployments", verify=context(authority, authority.folder / "alice.pem"))
    assert [entry["name"] for entry in listed.json()["deployments"]] == ["adder"]


def test_it_stands_for_the_key_at_the_management_api_too(platform, authority, bound):
    answer = httpx.get(f"{platform.url}/api/v1/whoami", verify=context(authority, authority.folder / "alice.pem"))
    assert answer.json()["key_id"] == bound[0]
    assert httpx.get(f"{platform.url}/api/v1/whoami", verify=context(authority, authority.issue("bob"))).status_code == 401


GRPC = """
import sys
import grpc, numpy, tritonclient.grpc as triton
address, ca, chain = sys.argv[1:4]
read = lambda path: open(path, "rb").read()
with triton.InferenceServerClient(address, creds=grpc.ssl_channel_credentials(read(ca), read(chain), read(chain)), ssl=True) as client:
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(numpy.array([[1, 2]], numpy.float32))
    print(client.infer("adder", [tensor]).as_numpy("y").tolist())
"""


def test_and_over_grpc(platform, authority, bound):
    address = json.loads((platform.home / "run" / "supervisor.json").read_text())["grpc_address"]
    command = [sys.executable, "-c", GRPC, address, str(authority.file), str(authority.folder / "alice.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[[2.0, 3.0]]", done.stderr


def test_bindings_are_listed_refused_twice_and_ended(platform, authority, bound):
    listed = json.loads(platform.run("certificates", "list", "--json").stdout)
    assert [(entry["key"], entry["certificate"].partition(":")[0]) for entry in listed] == [(bound[0], "sha256"), (bound[1], "subject")]
    twice = platform.run("certificates", "bind", bound[0], "--subject", "CN=pump,O=Example", check=False)
    assert twice.returncode != 0
    assert "stands for a key already" in twice.stderr
    wrong = platform.run("certificates", "bind", bound[0], "--subject", "", check=False)
    assert "--subject" in wrong.stderr
    events = httpx.get(
        f"{platform.url}/api/v1/audit",
        headers={"authorization": f"Bearer {platform.admin_key}"},
        verify=context(authority, authority.folder / "alice.pem"),
    ).json()
    assert "key.bind" in {event["action"] for event in events}
    platform.run("certificates", "unbind", bound[1], "--subject", "CN=pump,O=Example")
    until = time.monotonic() + 10
    while called(platform, authority, authority.folder / "pump.pem").status_code == 200 and time.monotonic() < until:
        time.sleep(0.05)
    assert called(platform, authority, authority.folder / "pump.pem").status_code == 401


def test_a_revoked_key_takes_its_certificate_with_it(platform, authority, bound):
    key = json.loads(platform.run("keys", "create", "--json").stdout)["id"]
    chain = authority.issue("carol")
    platform.run("certificates", "bind", key, "--file", str(chain))
    assert called(platform, authority, chain).status_code == 200
    platform.run("keys", "revoke", key)
    until = time.monotonic() + 10
    while called(platform, authority, chain).status_code == 200 and time.monotonic() < until:
        time.sleep(0.05)
    assert called(platform, authority, chain).status_code == 401
    other = json.loads(platform.run("keys", "create", "--json").stdout)["id"]
    platform.run("certificates", "bind", other, "--file", str(chain))
    assert called(platform, authority, chain).status_code == 200
