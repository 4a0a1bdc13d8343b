"""``modelyard limits`` and ``modelyard prices``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import modelyard
from management import ADMIN
from modelyard.cli.main import main


@pytest.fixture
def cli(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_KEY", ADMIN)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_limits_are_set_shown_and_removed(cli) -> None:
    key = json.loads(cli("keys", "create", "--json")[1])["id"]
    status, out, _ = cli("limits", "set", "--key", key, "100/min")
    assert (status, out) == (0, f"Limit 1: 100 requests/minute for key {key}.\n")
    assert json.loads(cli("limits", "set", "5000 rows/day", "--json")[1])["amount"] == 5000
    assert cli("limits", "set", "--platform", "9/s")[1] == "Limit 3: 9 requests/second for platform.\n"
    shown = cli("limits", "list")[1]
    assert key in shown
    assert "5000 rows/day" in shown
    assert cli("limits", "remove", "1")[1] == "Limit 1 is removed.\n"
    assert len(json.loads(cli("limits", "list", "--json")[1])) == 2


def test_a_refusal_is_one_sentence(cli) -> None:
    status, out, err = cli("limits", "set", "lots")
    assert status != 0
    assert not out
    assert "write it like 100/min" in err
    status, _, err = cli("limits", "set", "--with", "birds", "5/s")
    assert status != 0
    assert "needs --deployment" in err
    assert cli("limits", "set", "--key", "a", "--platform", "9/s")[0] != 0


def test_prices_are_set_and_shown(cli) -> None:
    status, out, err = cli("prices", "set", "--currency", "USD", "--call", "0.0015", "--tokens-in", "0.5")
    assert status == 0, err
    assert "0.0015 USD/call, 0.5 USD/1000 tokens in" in out
    cli("prices", "set", "--currency", "USD", "--call", "1", "--from", "30d")
    found = json.loads(cli("prices", "list", "--json")[1])
    assert [price["call"] for price in found] == [1500, 1_000_000]
    assert found[1]["effective_ns"] - found[0]["effective_ns"] > 29 * 86400 * 10**9
    assert "(others)" in cli("prices", "list")[1]


def test_a_price_says_what_it_is_for(cli, url: str, model_file: Path) -> None:
    with modelyard.connect(url, ADMIN) as client:
        client.push(model_file, "adder")
        client.deploy("adder@1", "shop", wait=False)
    for options, told in (
        ((), "on every deployment without a price of its own costs"),
        (("--deployment", "shop"), "on shop costs"),
        (("--version", "adder@1"), "on adder@1 in every deployment without a price of its own costs"),
        (("--version", "adder@1", "--deployment", "shop"), "on adder@1 in shop costs"),
    ):
        assert told in cli("prices", "set", "--currency", "USD", "--call", "1", *options)[1]
    assert "no version 'adder@2'" in cli("prices", "set", "--currency", "USD", "--version", "adder@2")[2]
    assert "adder@1" in cli("prices", "list")[1]
    made = json.loads(cli("prices", "set", "--currency", "USD", "--call", "1", "--version", "adder@01", "--from", "30d", "--json")[1])
    assert made["version"] == "adder@1"
    listed = [price for price in json.loads(cli("prices", "list", "--json")[1]) if price["id"] != made["id"]]
    assert sorted((price["deployment"], price["version"]) for price in listed) == [
        ("", ""),
        ("", "adder@1"),
        ("shop", ""),
        ("shop", "adder@1"),
    ]
