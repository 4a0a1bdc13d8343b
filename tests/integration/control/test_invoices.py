"""Bills over HTTP, by the client, by the command line, and in a real browser."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import httpx
import pytest

import modelyard
from management import ADMIN, Platform
from modelyard.cli.main import main
from modelyard.core.cost import Cost
from modelyard.core.errors import InvalidRequest, PermissionDenied
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal
from modelyard.ledger.fold import Folder
from modelyard.sdk.client import Client
from servers import chromium

MONTH = time.strftime("%Y-%m", time.gmtime())


@pytest.fixture
def client(url: str, platform: Platform, model_file: Path):
    """A client of a platform on which 40 calls with 80 rows were answered, at a price."""
    with modelyard.connect(url, ADMIN) as made:
        version = made.push(model_file, "adder")
        made.deploy("adder@1", "adder", wait=False)
        made.prices.set("USD", deployment="adder", call="0.01", row="0.002")
        services = platform.services
        journal = Journal(services.home.journal, b"b" * 16, 0, segment_bytes=128 * 17)
        with services.store.read() as session:
            deployment = session.deployments.list(1)[0].id
        for number in range(50):
            status = 200 if number < 40 else 429
            caller = (number.to_bytes(16, "big"), 1, 1, deployment)
            journal.append(caller, status, Cost(rows=2, version_id=version.id), ProtocolId.RECORDS, CallKind.INFER, 10, 20)
            if journal._maker is not None:
                journal._maker.join()
        journal.close()
        Folder(services.store, services.home.journal, services.clock).fold()
        yield made


def test_a_bill_is_the_ledger_times_the_prices(client: Client) -> None:
    made = client.platform.invoice(MONTH)
    assert [(line.item, line.quantity, line.amount) for line in made.lines] == [("call", 40, 400_000), ("row", 80, 160_000)]
    (used,) = [row for row in client.platform.usage(by=["status"]) if row.status == "2xx"]
    assert made.total == used.calls * 10_000 + used.rows * 2_000 == 560_000
    assert (made.workspace, made.currency, made.complete, made.answered_calls) == ("default", "USD", False, 40)


def test_files(client: Client, url: str) -> None:
    out = io.BytesIO()
    client.platform.export_invoice(out, MONTH, format="csv")
    assert out.getvalue().decode().splitlines()[-1] == f"default,{MONTH},total,,,,,,,,,0.56,USD"
    page = httpx.get(f"{url}/api/v1/invoices/{MONTH}?format=html", headers={"authorization": f"Bearer {ADMIN}"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "0.56 USD" in page.text


def test_refusals(client: Client, url: str) -> None:
    with pytest.raises(InvalidRequest, match="is no month; write it like 2026-11"):
        client.platform.invoice("November")
    key = client.keys.create(actions=["infer", "read"], deployments=["adder"])
    with modelyard.connect(url, key.key) as scoped, pytest.raises(PermissionDenied, match="for the whole workspace"):
        scoped.platform.invoice(MONTH)


def test_the_command(client: Client, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary) -> None:
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_KEY", ADMIN)

    def run(*arguments: str) -> tuple[int, bytes, bytes]:
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["invoice", *arguments])
        said = capsysbinary.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    assert f"Total for {MONTH} so far: 0.56 USD".encode() in run()[1]
    assert json.loads(run("--month", MONTH, "--json")[1])["total"] == 560_000
    assert b",total," in run("--format", "csv")[1]
    assert run("--out", str(tmp_path / "bill.html"))[0] == 0
    assert b"0.56 USD" in (tmp_path / "bill.html").read_bytes()
    status, _, said = run("--format", "pdf")
    assert status
    assert b"csv or html" in said


def test_the_page_in_a_browser(client: Client, tmp_path: Path) -> None:
    with (tmp_path / "bill.html").open("wb") as out:
        client.platform.export_invoice(out, MONTH)
    with chromium.running() as browser:
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.goto((tmp_path / "bill.html").as_uri())
        assert page.locator("h1").inner_text() == f"Invoice {MONTH}"
        assert page.locator("tbody tr").count() == 2
        assert page.locator(".total span").last.inner_text() == "0.56 USD"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.pdf(format="A4").startswith(b"%PDF")
        page.screenshot(path=str(tmp_path / "bill.png"), full_page=True)
    assert (len(asked), problems) == (1, [])
