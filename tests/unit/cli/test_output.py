"""What reaches a terminal and what reaches a pipe."""

from __future__ import annotations

import pytest

from modelyard.cli import output


def test_a_pipe_gets_aligned_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["name", "value"], [("a", 1.23456789), ("long name", None), ("l", ["x", "y"])])
    assert capsys.readouterr().out.splitlines() == ["NAME       VALUE", "a          1.235", "long name", "l          x, y"]


def test_a_terminal_gets_a_table_and_brackets_stay_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.print_table(["shape"], [("[-1, 1]",), ("[bold]",)])
    shown = capsys.readouterr().out
    assert "[-1, 1]" in shown
    assert "[bold]" in shown


def test_nothing_to_show_is_a_note_and_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["a"], [], empty="None yet.")
    assert capsys.readouterr() == ("", "None yet.\n")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**31, "2.0 GiB"), (2**42, "4.0 TiB")])
def test_sizes_for_people(count: int, text: str) -> None:
    assert output.size(count) == text


def test_progress_in_a_pipe_says_each_stage_once(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("Training") as step:
        for fraction in (0.1, 0.2, 0.3):
            step("fit", fraction)
        step("evaluate", 0.9)
    assert capsys.readouterr().err.splitlines() == [" 10% fit", " 90% evaluate"]


def test_growing_bytes_are_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("Saving") as step:
        for count in (2**19, 2**20, 2**21, 2**34):
            step(f"Saving, {output.size(count)}", 0.0)
    assert capsys.readouterr().err.splitlines() == ["  0% Saving, 512.0 KiB"]


def test_a_long_text_is_cut_to_a_cell() -> None:
    assert output.shortened("a\n b") == "a b"
    assert output.shortened("x" * 60) == "x" * 60
    assert output.shortened("word " * 40) == ("word " * 12)[:59] + "…"


def test_progress_on_a_terminal_is_a_bar_on_standard_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with output.progress("Training") as step:
        step("fit [fold 1]", 0.5)
    said = capsys.readouterr()
    assert said.out == ""
