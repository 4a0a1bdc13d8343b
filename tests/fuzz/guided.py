"""Coverage-guided fuzzing of one target with atheris; run by ``make fuzz``.

usage: python -m fuzz.guided TARGET FOLDER [libFuzzer's options]      (TARGET may be any part of a name; FOLDER keeps what opened new ways)
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["modelyard.protocols", "modelyard.server.fronts", "modelyard.core", "modelyard.gate"]):
    from fuzz.targets import targets
    from fuzz.test_fuzz import kept


def main() -> None:
    logging.getLogger("modelyard").setLevel(logging.CRITICAL + 1)  # a fault is told by its status
    wanted, folder, *options = sys.argv[1:]
    name = next(name for name in sorted(targets()) if wanted in name)
    run = targets()[name]
    place = Path(folder) / name
    place.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(kept(name)):
        (place / f"seed-{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], str(place), *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
