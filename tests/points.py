"""Rows that a small network learns from, importable by processes that are started for it."""

import os
import signal
from pathlib import Path

import numpy as np
import torch


class Points:
    """Two clouds of points; while learning they are shaken where ``shaking`` says so, so that randomness matters."""

    def __init__(self, count=120, seed=0, shaking=0.1):
        random = np.random.default_rng(seed)
        self.labels = torch.from_numpy(random.integers(0, 2, count))
        self.points = torch.from_numpy(random.normal(size=(count, 4)).astype(np.float32)) + self.labels[:, None] * 1.5
        self.shaking = shaking
        self.stop_after = None
        self.asked = 0

    def __len__(self):
        return len(self.labels)

    def batch(self, rows, random):
        if random is not None:
            self.asked += 1
            if self.stop_after is not None and self.asked > self.stop_after:
                raise KeyboardInterrupt
        rows = torch.from_numpy(rows)
        shaken = self.points[rows]
        if random is not None and self.shaking:
            shaken = shaken + torch.randn(shaken.shape, generator=random) * self.shaking
        return (shaken,), self.labels[rows]


class Fatal(Points):
    """Kills the process of member 1 in one of its batches, ``times`` times in all."""

    def __init__(self, mark: Path, at: int, times=1, **more):
        super().__init__(**more)
        self.mark, self.at, self.times = mark, at, times

    def batch(self, rows, random):
        found = super().batch(rows, random)
        deaths = len(self.mark.read_bytes()) if self.mark.exists() else 0
        if self.asked == self.at and os.environ.get("RANK") == "1" and deaths < self.times:
            self.mark.write_bytes(b"x" * (deaths + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return found


class Poisoned(Points):
    """Becomes no number in one of its batches."""

    def batch(self, rows, random):
        inputs, labels = super().batch(rows, random)
        return ((inputs[0] * float("nan") if self.asked == 5 else inputs[0]),), labels
