"""No secret that is given to a running platform turns up in plain where it does not belong: files, command lines, pages, answers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import psycopg
import pytest

from acceptance.graphs import write_adder
from acceptance.test_webhook import Receiver, receiver
from modelyard import Client
from modelyard.testing.platform import RunningPlatform, running_platform
from servers import postgres, s3
from servers.openai_shaped import OpenAIShaped

pytestmark = pytest.mark.timeout(300)
HOLDERS = frozenset({"home.secret", "webhook.secret", "audit.key"})
"""Files whose purpose is to hold a secret; only their owner may read them."""
WEBHOOK = b"planted-webhook-secret-0001"
UPSTREAM = "sk-planted-upstream-0002"
DATABASE_PASSWORD = "planted-database-0003"
BLOB_PASSWORD = "planted-blob-secret-0004"
__all__ = ["receiver"]
GRAPH = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
SIGNATURE = {way: [{"name": name, "datatype": "FP32", "shape": [-1, 2]}] for way, name in (("inputs", "x"), ("outputs", "y"))}


class Searched:
    """Secrets by what they are, and where they were found."""

    def __init__(self) -> None:
        self._secrets: dict[str, list[bytes]] = {}
        self.found: set[str] = set()

    def plant(self, name: str, secret: str) -> None:
        """As it is, and as others might write it."""
        raw = secret.encode()
        self._secrets[name] = [raw, base64.b64encode(raw).rstrip(b"="), quote(secret, safe="").encode(), raw.hex().encode()]

    def look(self, where: str, data: bytes) -> None:
        for name, forms in self._secrets.items():
            if any(form in data for form in forms):
                self.found.add(f"{name} in {where}")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Of a server that would trust anybody: the password is only there to be kept secret."""
    with postgres.running() as server:
        url = server.database()
        yield url.replace("postgres@", f"postgres:{DATABASE_PASSWORD}@")


@pytest.fixture(scope="module")
def blobs() -> Iterator[str]:
    with s3.running() as server:
        yield server.bucket().replace("secret=test", f"secret={BLOB_PASSWORD}")


def everything(platform: RunningPlatform, database: str, searched: Searched) -> None:
    """Looks through all that is stored and shown outside of answers."""
    root = psutil.Process(platform.process.pid)
    tree = [root, *root.children(recursive=True)]
    assert len(tree) >= 3
    for process in tree:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            searched.look("a command line", "\0".join(process.cmdline()).encode())
    files = [path for path in platform.home.rglob("*") if path.is_file()]
    assert {"logs", "journal", "snapshot", "predictions", "run"} <= {path.relative_to(platform.home).parts[0] for path in files}
    for path in files:
        if path.name in HOLDERS:
            assert path.stat().st_mode & 0o077 == 0, path
        else:
            with suppress(FileNotFoundError):  # it took another's place meanwhile
                searched.look(str(path.relative_to(platform.home)), path.read_bytes())
    with psycopg.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        assert {"keys", "audit", "settings"} <= set(tables)
        for table in tables:
            for (row,) in connection.execute(f'SELECT t::text FROM "{table}" AS t'):  # type: ignore[arg-type]
                searched.look(f"the table {table}", row.encode())


def call(platform: RunningPlatform, name: str, key: str) -> httpx.Response:
    return httpx.post(f"{platform.inference}/v2/models/{name}/infer", json=GRAPH, headers={"authorization": f"Bearer {key}"}, timeout=30)


def predict(platform: RunningPlatform, key: str, receiver: Receiver) -> None:
    """An asynchronous prediction that is told to a webhook, which refuses it at first."""
    hook = {"url": f"http://127.0.0.1:{receiver.server_address[1]}/told"}
    accepted = httpx.post(
        f"{platform.inference}/v1/deployments/adder/predictions",
        json={"records": [{"x": [1, 2]}], "webhook": hook},
        headers={"authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert accepted.status_code == 202, accepted.text
    assert receiver.told.wait(60)


def misused(platform: RunningPlatform, secret: str) -> Iterator[tuple[str, httpx.Response]]:
    """Answers to calls that show a secret where it does not belong, or in a wrong form."""
    paths = ("/v2/models/adder/infer", "/v2/models/nothing/infer", "/v1/deployments/adder/predictions", "/api/v1/models", "/no")
    wrong = [{"authorization": f"Bearer {secret}x"}, {"authorization": f"Basic {secret}"}, {"x-api-key": f"{secret}!"}, {"cookie": secret}]
    with httpx.Client(timeout=30) as http:
        for base in (platform.inference, platform.url):
            for path in paths:
                for headers in wrong:
                    yield f"POST {path}", http.post(base + path, json={"records": [1]}, headers=headers)
                yield f"GET {path} with a query", http.get(base + path, params={"key": secret, "api_key": secret, "token": secret})


def shown(platform: RunningPlatform) -> Iterator[tuple[str, httpx.Response]]:
    """What an administrator can read."""
    paths = (
        "/metrics",
        "/openapi.json",
        "/readyz",
        *[f"/api/v1/{name}" for name in ("whoami", "status", "keys", "audit", "models", "export")],
    )
    for base in (platform.url, platform.inference):
        for path in paths:
            yield f"GET {path}", httpx.get(base + path, headers={"authorization": f"Bearer {platform.admin_key}"}, timeout=30)


def test_planted_secrets_stay_where_they_belong(tmp_path: Path, database: str, blobs: str, receiver: Receiver) -> None:
    webhook = "whsec_" + base64.b64encode(WEBHOOK).decode()
    settings = {"webhook_local": "true", "webhook_secret": webhook, "log_level": "debug", "database_url": database, "blob_url": blobs}
    with OpenAIShaped(key=UPSTREAM) as upstream, running_platform(tmp_path / "home", workers=1, settings=settings) as platform:
        with Client(platform.url, platform.admin_key) as client:
            deploy(client, tmp_path, upstream)
            issued = client.keys.create(deployments=["adder"]).key
            personal = people(platform, client)
        searched = Searched()
        planted = {"the admin key": platform.admin_key, "an issued key": issued.split("_", 2)[2], "the webhook secret": webhook}
        planted |= {"the webhook secret's bytes": WEBHOOK.decode(), "an upstream key": UPSTREAM}
        planted |= {"the database's password": DATABASE_PASSWORD, "the blob store's secret": BLOB_PASSWORD}
        for name, secret in (planted | personal).items():
            searched.plant(name, secret)
        assert call(platform, "adder", issued).status_code == call(platform, "far", platform.admin_key).status_code == 200
        assert upstream.keys[-1] == f"Bearer {UPSTREAM}"  # so it was there to be lost
        predict(platform, issued, receiver)
        upstream.fail = [401, 500, 500, 500, 500, 500]
        answers = [("a failing endpoint", call(platform, "far", platform.admin_key)) for _ in range(3)]
        assert {answer.status_code for _, answer in answers} != {200}
        answers += [found for secret in (platform.admin_key, issued) for found in misused(platform, secret)]
        answers += shown(platform)
        assert {200, 401, 404, 503} & {answer.status_code for _, answer in answers} >= {200, 401, 404}
        for where, answer in answers:
            searched.look(f"{answer.status_code} of {where}", answer.content + repr(answer.headers.raw).encode())
        everything(platform, database, searched)
        time.sleep(1.5)  # a look at what was noted last, too
        everything(platform, database, searched)
        control = Searched()
        control.plant("the name", "adder")  # what is no secret is found, so the search does see what is there
        everything(platform, database, control)
        assert {"the name in the table deployments", "the name in logs/access-0.log"} <= control.found, control.found
    assert not searched.found, sorted(searched.found)


def people(platform: RunningPlatform, client: Client) -> dict[str, str]:
    """Secrets of somebody who signs in, and of the provider with which others do."""
    password, wrong, provider = "planted person 0005", "planted mistake 0006", "planted-provider-0007"
    invitation = client.people.add("ana")
    client.members.put("ana", ["consumer"])
    admin = {"authorization": f"Bearer {platform.admin_key}"}
    with httpx.Client(base_url=f"{platform.url}/api/v1", timeout=30) as http:
        wish = {"issuer": "https://login.example.org", "client_id": "modelyard", "client_secret": provider}
        assert http.put("/providers/corp", json=wish, headers=admin).status_code == 200
        assert http.post("/sign-in/password", json={"token": invitation.token, "password": password}).status_code == 204
        assert http.post("/sign-in", json={"name": "ana", "password": wrong}).status_code == 401
        signed = http.post("/sign-in", json={"name": "ana", "password": password})
        session = signed.cookies["modelyard_session"]
        key = http.post("/sign-in/key", json={"name": "ana", "password": password, "workspace": "default", "hours": 1}).json()["key"]
        assert http.get("/me").json()["name"] == "ana"
    found = {"a password": password, "a wrong password": wrong, "an invitation": invitation.token, "a session": session}
    return found | {"a provider's secret": provider, "a signed-in key": key.split("_", 2)[2]}


def deploy(client: Client, folder: Path, upstream: OpenAIShaped) -> None:
    """A model of ours, and one that the upstream serves for a sealed key."""
    client.push(write_adder(folder / "adder.onnx", 5.0), "adder")
    far = folder / "far"
    far.mkdir()
    endpoints = [{"url": upstream.url, "model": "m", "sealed_key": client.platform.seal(upstream.url, UPSTREAM).sealed}]
    (far / "remote.json").write_text(json.dumps({"protocol": "open_inference", "endpoints": endpoints, "signature": SIGNATURE}))
    client.push(far, "far")
    for name in ("adder", "far"):
        client.deploy(f"{name}@1", name)
        client.deployments.wait(name, timeout=60)
