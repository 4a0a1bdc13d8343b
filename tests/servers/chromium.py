"""A real browser for tests: Debian's Chromium, found or installed; never skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

_INSTALL = (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"])


@contextmanager
def running() -> Iterator[Browser]:
    """A browser for as long as the block lasts."""
    program = find_program() or _install()
    with sync_playwright() as playwright:
        # Without its sandbox: it shows only our own pages, and would refuse to start as root.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def find_program() -> Path | None:
    """Where the browser is."""
    found = shutil.which("chromium")
    return Path(found) if found else None


def _install() -> Path:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError("Chromium is needed by these tests, and only root with apt-get could install it: apt-get install chromium")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    attempts = []
    for command in _INSTALL:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        attempts.append(f"{' '.join(command)}: {done.returncode} {done.stderr[-500:]}")
    found = find_program()
    if found is None:
        raise RuntimeError("Chromium is needed by these tests and could not be installed:\n" + "\n".join(attempts))
    return found
