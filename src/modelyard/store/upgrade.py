"""Making a home, and bringing an older one to this version's layout.

Light on purpose: the supervisor calls it before anything else runs, holding the home's lock. The schema of the database is another
matter: the controller brings it up with ``backup.migrate_after_backup``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from modelyard.core.errors import Conflict
from modelyard.store.home import LAYOUT, Home

Step = Callable[[Home], None]
STEPS: Mapping[int, Step] = {}
"""By the layout it starts from: what makes the next layout of a home. Each may be run again after it was interrupted."""

_SKIPPED = frozenset({"backups", "cache", "run", "tmp", "logs"})


def prepare_home(home: Home, *, layout: int = LAYOUT, steps: Mapping[int, Step] = STEPS) -> Path | None:
    """Makes a home where there is none, upgrades an older one after a backup, and empties its folder of unfinished uploads.

    The folder of the backup, where one was made. Raises Conflict for a home that a newer Modelyard has made, and for a folder that
    holds something else; both are left as they are.
    """
    found = read_layout(home)
    if found is None:
        _refuse_foreign(home)
        home.create()
        _write_layout(home, layout)
        return None
    if found > layout:
        raise Conflict(f"The home {home.root} has layout {found}, made by a newer Modelyard than this one (layout {layout}); use that.")
    kept = _upgrade(home, found, layout, steps) if found < layout else None
    home.create()
    _empty(home.temporary)
    return kept


def read_layout(home: Home) -> int | None:
    """The version of a home's layout; None where there is no home.

    Raises Conflict when the file that says so is damaged.
    """
    try:
        text = home.layout_file.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not text.isdigit():
        raise Conflict(f"{home.layout_file} is damaged: it should hold the number of the home's layout; restore it from a backup.")
    return int(text)


def is_empty(home: Home, *passed_over: Path) -> bool:
    """Whether a home, or the place for one, holds nothing that could be lost: no files but locks, logs and the layout's number.

    Folders in ``passed_over`` are not looked into.
    """
    kept = {home.run, home.logs, *passed_over}
    for folder, _, files in os.walk(home.root):
        at = Path(folder)
        if files and not any(at.is_relative_to(place) for place in kept) and {at / name for name in files} != {home.layout_file}:
            return False
    return True


def _refuse_foreign(home: Home) -> None:
    if home.root.exists() and not home.root.is_dir():
        raise Conflict(f"{home.root} is no folder; choose another place with --home.")
    if not is_empty(home, home.programs):  # a program may be installed before the first start
        raise Conflict(f"{home.root} holds files but is no home of Modelyard; choose an empty or new folder with --home.")


def _upgrade(home: Home, found: int, layout: int, steps: Mapping[int, Step]) -> Path:
    missing = [number for number in range(found, layout) if number not in steps]
    if missing:
        raise Conflict(f"The home {home.root} has layout {found}, which this Modelyard can no longer upgrade; use an older one first.")
    kept = _copy(home, found)
    for number in range(found, layout):
        steps[number](home)
        _write_layout(home, number + 1)
    return kept


def _copy(home: Home, found: int) -> Path:
    target = home.root / "backups" / f"layout-{found}-{time.time_ns()}"
    part = target.with_suffix(".part")
    part.mkdir(mode=0o700, parents=True)
    for item in sorted(home.root.iterdir()):
        if item.name in _SKIPPED:
            continue
        if item.is_dir():
            # Blobs never change: a second name costs no room.
            shutil.copytree(item, part / item.name, copy_function=_link if item == home.blobs else shutil.copy2)
        else:
            shutil.copy2(item, part / item.name)
    return part.rename(target)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _write_layout(home: Home, layout: int) -> None:
    part = home.layout_file.with_name(".LAYOUT.part")
    with part.open("w") as stream:
        stream.write(f"{layout}\n")
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(home.layout_file)


def _empty(folder: Path) -> None:
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)
