"""A forest teaches a network, the network is made smaller, and the best way of running it is found: all against a running platform.

    modelyard up &
    python examples/make_smaller.py examples/data/penguins.csv species

Prints a line for each version. The pages of the first and the last, and the pictures that compare them, are written beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.core.models import Version
from modelyard.sdk.client import Client

TREES = {"families": ["forest"], "folds": 2, "settings": {"forest": {"n_estimators": 100}}, "budget": {"trials": 1}}
STUDENT = {"hidden": [32], "temperature": 3.0, "mixing": 0.7, "learning": {"epochs": 60, "optimizer": {"learning_rate": 0.01}}}
TOLERANCE = {"quality": 0.05, "latency": 9.0, "size": 1.0}


def told(version: Version) -> str:
    """A version in one line."""
    report = version.report.get("optimization")
    if not report:
        return f"{version.reference}: {version.artifact.size:,} bytes"
    quality, verdict = report["quality"]["child"], "kept" if report["verdict"]["kept"] else "flagged"
    return f"{version.reference}: {report['pass']}, {version.artifact.size:,} bytes, {quality['value']:.4f}, {verdict}"


def main(data: str, target: str) -> int:
    """The whole way; the exit status."""
    with Client() as client:
        teacher = client.train(data, target, name="shrinking", recipe=TREES)
        print(told(teacher))
        (student,) = client.optimize(teacher.reference, ["distill"], tolerance=TOLERANCE, student=STUDENT)
        print(told(student))
        children = client.optimize(student.reference, ["prune:0.5,finetune=5", "graph"], tolerance=TOLERANCE)
        for child in children:
            print(told(child))
        tuned = client.tune(student.reference, {"p99_ms": 2000, "max_loss": 0.05, "seconds": 3}, chains=[["graph"]], workers=[1])
        print(f"{tuned.reference}: {tuned.report['tuning']['tried'][0]['title']}")
        for version in (teacher, tuned):
            with Path(f"{version.model}-{version.number}.html").open("wb") as file:
                client.models.report(version.reference, file)
        for version, picture in ((children[-1], "family.png"), (tuned, "tuning.png")):
            with Path(f"{version.model}-{picture}").open("wb") as file:
                client.models.attachment(version.reference, picture, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
