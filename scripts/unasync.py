"""Generates the synchronous SDK from the asynchronous one; ``--check`` only says whether it is up to date.

Each ``async_*`` source has a twin without the prefix. Names are swapped token by token, so text in strings and comments stays.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tokenize
from pathlib import Path

SDK = Path(__file__).resolve().parent.parent / "src" / "modelyard" / "sdk"
DROPPED = {"async", "await"}
NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
}


def twins() -> dict[Path, Path]:
    """Source → generated file."""
    sources = [*SDK.glob("async_*.py"), *(SDK / "async_resources").glob("*.py")]
    return {source: SDK / Path(*(part.removeprefix("async_") for part in source.relative_to(SDK).parts)) for source in sorted(sources)}


def swapped(name: str) -> str:
    """The synchronous name for an asynchronous one."""
    if name in NAMES:
        return NAMES[name]
    if name.startswith("Async"):
        return name.removeprefix("Async")
    return name.removeprefix("async_")


def translate(text: str) -> str:
    """Synchronous code for asynchronous code."""
    lines = text.splitlines(keepends=True)
    edits: list[tuple[int, int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, start), (_, end) = token.start, token.end
        if token.type != tokenize.NAME:
            continue
        if token.string in DROPPED:
            edits.append((row, start, end + 1, ""))  # with the space behind it
        elif (new := swapped(token.string)) != token.string:
            edits.append((row, start, end, new))
    for row, start, end, new in reversed(edits):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + new + line[end:]
    return "".join(lines)


def formatted(text: str, name: str) -> str:
    """``text`` as the project formats code: shorter names change where lines break and imports stand."""
    for arguments in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", name, "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=SDK).stdout
    return text


def generated(source: Path, target: Path) -> str:
    """The whole text of a generated file."""
    header = f"# Generated from {source.relative_to(SDK).as_posix()} by scripts/unasync.py; edit that file and run the script.\n"
    return formatted(header + translate(source.read_text()), str(target))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when a file is out of date")
    check: bool = parser.parse_args().check
    stale = 0
    for source, target in twins().items():
        text = generated(source, target)
        if target.exists() and target.read_text() == text:
            continue
        stale += 1
        if check:
            sys.stderr.write(f"{target} is out of date; run: python scripts/unasync.py\n")
        else:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
