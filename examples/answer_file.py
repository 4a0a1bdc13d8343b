"""Every row of a file is answered by a version, in a job that goes on where it was ended: against a running platform.

modelyard up &
python examples/answer_file.py penguins@1 examples/data/penguins.csv answers.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.sdk.client import Client


def main(version: str, data: str, answers: str, *keep: str) -> int:
    """The whole way; the exit status."""
    place = Path(answers)
    with Client() as client, place.open("wb") as file:
        job = client.predict_file(version, data, file, options={"form": place.suffix[1:], "keep": list(keep)})
        print(f"{job.result['rows']:,} rows, {job.result['rows_per_second']:,.0f} a second, by {job.result['version']}")
        print(f"kept as the data set {job.result['dataset']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
