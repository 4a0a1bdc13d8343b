"""Series for tests: real ones of the examples, and made ones whose rule is known."""

from pathlib import Path

import numpy as np

CLIMATE = Path(__file__).resolve().parents[1] / "examples/data/climate.csv"
FORECAST = {
    "kind": "series",
    "target": "value",
    "time": "month",
    "groups": "series",
    "window": 24,
    "horizon": 6,
    "network": {"kind": "lstm", "width": 8},
    "learning": {"epochs": 6, "batch_size": 128, "optimizer": {"learning_rate": 0.01}},
}


def write_machines(path, machines=12, seed=0):
    """Vibration of machines, some of which shake with a fast wave: what shakes is labelled, and so is how strongly."""
    random = np.random.default_rng(seed)
    lines = ["machine,second,vibration,heat,state,strength"]
    for machine in range(machines):
        fast = machine % 3 == 0
        for second in range(96):
            wave = np.sin(second * (2.4 if fast else 0.4) + machine)
            heat = "" if second % 17 == 5 else f"{20 + random.normal():.3f}"
            lines.append(f"m{machine},{second},{wave + 0.1 * random.normal():.4f},{heat},{'worn' if fast else 'sound'},{machine / 4:.2f}")
    Path(path).write_text("\n".join(lines) + "\n")
    return Path(path)


def write_shop(path, days=260, seed=0):
    """Sales and visitors that follow an announced offer: who reads the announcement can foretell them."""
    random = np.random.default_rng(seed)
    offers = (random.random(days) < 0.3).astype(int)
    lines = ["day,offer,visitors,sales"]
    for day in range(days):
        visitors = 100 + 50 * offers[day] + random.normal()
        lines.append(f"{np.datetime64('2026-01-01') + day},{offers[day]},{visitors:.3f},{visitors * 0.3 + random.normal():.3f}")
    Path(path).write_text("\n".join(lines) + "\n")
    return Path(path)
