"""A bad table ends in one sentence on the command line, and nothing is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.testing.platform import RunningPlatform

GOOD = "a,b,y\n" + "".join(f"{n},{n * 7 % 5},{'yes' if n % 2 else 'no'}\n" for n in range(60))


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("a,b,y\n1,2,yes\n1,2,3,4,no\n" + "1,2,no\n" * 30, "y", "3"),  # the row is named
        (GOOD, "yy", "'y'"),
        ("", "y", "empty"),
    ],
    ids=["ragged", "absent target", "empty"],
)
def test_a_bad_table_is_refused_with_one_sentence(platform: RunningPlatform, tmp_path: Path, text: str, target: str, says: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    done = platform.run("train", str(table), "--target", target, "--name", "bad", check=False)
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    assert says in error
    assert "Traceback" not in done.stderr + done.stdout
    assert [model for model in platform.json("models") if model["name"] == "bad" and model["latest"]] == []
