"""Months of the past foretell the months to come: a series becomes a forecast that is served, against a running platform.

    modelyard up &
    python examples/forecast_series.py examples/data/climate.csv
    python examples/forecast_series.py examples/data/climate.csv transformer 30

The words are the kind of the network (linear, rnn, lstm, gru or transformer) and the passes over the windows. Two pictures are written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.sdk.client import Client

RECIPE = {"kind": "series", "target": "value", "time": "month", "groups": "series", "window": 24, "horizon": 6}


def main(data: str, kind: str = "gru", epochs: str = "12") -> int:
    """The whole way; the exit status."""
    learning = {"epochs": int(epochs), "batch_size": 128, "optimizer": {"learning_rate": 0.01}}
    with Client() as client:
        version = client.train(data, name="climate", recipe=RECIPE | {"network": {"kind": kind}, "learning": learning})
        evaluation = version.report["evaluation"]
        interval = evaluation["intervals"]["mae"]
        print(f"{version.reference}: {version.report['family_title']}, off by {version.metrics['mae']:.3f} in the mean")
        print(f"  95 % of resampled stretches of time: {interval['low']:.3f} to {interval['high']:.3f}")
        for row in evaluation["baselines"]:
            print(f"  {row['method']}: {row['mae']:.3f}")
        print(f"  {evaluation['improvement']['verdict']}")
        for picture in ("forecasts.png", "forecast_errors.png"):
            with Path(f"climate-{picture}").open("wb") as file:
                client.models.attachment(version.reference, picture, file)
        client.deploy(version.reference, "climate")
        window = [[20.0 + month % 12 for month in range(24)]]
        answer = client.predict("climate", {"value": window})["prediction"][0]
        print("after two years that rise and fall:", ", ".join(f"{value:.1f}" for value in answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
