"""Fewer columns by one of several methods, and the best of some recipes, without a look at what is held out: against a running platform.

    modelyard up &
    python examples/choose_columns.py examples/data/penguins.csv species
    python examples/choose_columns.py examples/data/penguins.csv species qubo 4 8

The words are the method (or ``compare``, which takes whichever does best), the columns to keep, and the recipes to try.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.sdk.client import Client

SPACE = {"family": ["tree", "forest"], "settings.tree.max_depth": {"low": 2, "high": 8}, "settings.forest.max_depth": {"low": 2, "high": 8}}


def main(data: str, target: str, method: str = "compare", keep: str = "4", trials: str = "6") -> int:
    """The whole way; the exit status."""
    recipe = {
        "folds": 2,
        "features": {"select": method, "keep": int(keep)},
        "settings": {"forest": {"n_estimators": 30}},
        "search": {"trials": int(trials), "space": SPACE},
    }
    name = Path(data).stem
    with Client() as client:
        version = client.train(data, target, name=name, recipe=recipe)
        selection, search = version.report["selection"], version.report["search"]
        print(f"{version.reference}: {selection['method']} keeps {', '.join(selection['kept'])}")
        for row in selection["comparison"]:
            print(f"  {row['method']}: {row['mean']:.3f} ± {row['std']:.3f} with {row['columns']} columns")
        print(f"{sum(search['trials'].values())} recipes tried, the best three:")
        for row in search["leaderboard"][:3]:
            print(f"  {row['values']}")
        print(f"{version.report['family_title']}: f1 {version.metrics['f1_macro']:.3f} on what no trial has seen")
        for picture in ("selection.png", "search_coordinates.png"):
            with Path(f"{name}-{picture}").open("wb") as file:
                client.models.attachment(version.reference, picture, file)
        client.deploy(version.reference, name)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
