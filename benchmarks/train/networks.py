"""What our loop adds to a bare PyTorch loop, and what a second worker brings.

    python benchmarks/train/networks.py epoch   [--images 50000] [--rounds 3] [--network residual] [--width 8] [--depth 1]
    python benchmarks/train/networks.py workers [--images 20000] [--rounds 3] …

- ``epoch``: one epoch of the same network on the same 32×32 images, batches, optimizer, schedule and clipping: in the leanest loop, and in
  ``Learner`` (checkpoints every 20 s, progress after every step, a loss that is looked at). Interleaved; medians of per-round ratios, of
  wall time and of processor time.
- ``workers``: epochs of one process with one thread against those of two workers with one thread each, with the same rows in a step; what
  starting the processes takes is told apart. Needs two free cores; where others use them, the processor time that a process takes for
  an epoch says what two free cores would give at most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from modelyard.train.networks.architectures.images import build
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device, fit_threads
from modelyard.train.networks.image_data import ImageExamples
from modelyard.train.networks.lesson import Lesson, Site, learn
from modelyard.train.networks.loop import Learner
from modelyard.train.networks.objectives import Classes
from modelyard.train.networks.pixels import learn_scaling
from modelyard.train.networks.stepping import learning_rate
from modelyard.train.recipes.images import Augmentation, ImageNetwork
from modelyard.train.recipes.learning import Learning

OUT = Path(__file__).resolve().parents[1] / "out"


def images(count: int) -> np.ndarray:
    """Made once: blurred noise, because what is in them does not matter for time."""
    path = OUT / f"images-{count}.npy"
    if not path.exists():
        OUT.mkdir(exist_ok=True)
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


class Work:
    """The network and its images, the same for every way."""

    def __init__(self, arguments) -> None:
        pixels = images(arguments.images)
        labels = np.random.default_rng(1).integers(0, 10, len(pixels))
        self.count, self.pixels, self.labels = len(pixels), pixels, labels
        self.problem = SimpleNamespace(images=SimpleNamespace(pixels=pixels, labels=labels))
        self.scaling = learn_scaling(pixels[:2000], np.arange(min(2000, len(pixels))))
        self.network = ImageNetwork(kind=arguments.network, width=arguments.width, depth=arguments.depth)

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return build(self.network, 3, 32, 32, 10)

    def examples(self, rows) -> ImageExamples:
        return ImageExamples(self.problem, rows, self.scaling, Augmentation())

    def learning(self, **more) -> Learning:
        return Learning.model_validate({"epochs": 1, "batch_size": 128, "patience": None} | more)


class Clocked(ImageExamples):
    """Writes down the processor time of its process at each batch that is learned from."""

    def __init__(self, work: Work, place: Path) -> None:
        super().__init__(work.problem, np.arange(work.count), work.scaling, Augmentation())
        self._place = place

    def batch(self, rows, random):
        if random is not None:
            with (self._place / f"{os.getpid()}.clock").open("a") as file:
                file.write(f"{time.process_time()}\n")
        return super().batch(rows, random)


def bare(work: Work) -> None:
    """An epoch as one writes it: shuffle, scale, forward, backward, clip, step."""
    learning, module = work.learning(), work.module()
    shift, factor = (torch.from_numpy(values)[:, None, None] for values in (work.scaling.shift, work.scaling.factor))
    labels = torch.from_numpy(work.labels.astype(np.int64))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    size = learning.batch_size
    order = np.random.default_rng(0).permutation(work.count)
    module.train()
    steps = -(-work.count // size)
    for step in range(steps):
        rows = order[step * size : (step + 1) * size]
        inputs = torch.from_numpy(work.pixels[rows]).permute(0, 3, 1, 2).float()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(learning, step, steps)
        loss = functional.cross_entropy(module((inputs - shift) * factor), labels[torch.from_numpy(rows)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()


def ours(work: Work) -> None:
    """The same epoch in the product's loop; what it is judged on is two batches."""
    with tempfile.TemporaryDirectory() as folder:
        learning = work.learning()
        learner = Learner(work.module(), Classes(), learning, choose_device("auto"), Checkpoints(Path(folder), "f", 20.0), seed=0)
        learner.fit(work.examples(np.arange(work.count)), work.examples(np.arange(256)), lambda *_: None)


def epoch(arguments) -> dict:
    work = Work(arguments)
    choose_device("auto")
    sample = torch.zeros(128, 3, 32, 32)
    threads = fit_threads(work.module(), (sample,))
    rounds = []
    for _ in range(arguments.rounds):
        measured = {}
        for name, run in (("bare", bare), ("ours", ours)):
            torch.set_num_threads(threads)
            began, cpu = time.perf_counter(), time.process_time()
            run(work)
            measured[name] = (time.perf_counter() - began, time.process_time() - cpu)
        rounds.append(measured)
        print(f"bare {measured['bare'][0]:.1f} s, ours {measured['ours'][0]:.1f} s", flush=True)
    ratios = [statistics.median(one["ours"][at] / one["bare"][at] for one in rounds) for at in (0, 1)]
    print(f"ours / bare, {threads} thread(s): wall {ratios[0]:.3f}, processor {ratios[1]:.3f} (target 1.05)")
    return {"images": work.count, "threads": threads, "rounds": rounds, "wall": ratios[0], "processor": ratios[1]}


def workers(arguments) -> dict:
    work = Work(arguments)
    rounds = []
    for _ in range(arguments.rounds):
        alone, together = (_timed(work, count) for count in (1, 2))
        rounds.append({"alone": alone, "together": together})
        print(
            f"one process {alone['epoch']:.2f} s an epoch, {alone['processor']:.2f} s of processor; two workers {together['epoch']:.2f} s, "
            f"{together['processor']:.2f} s of processor each, started in {together['start']:.1f} s",
            flush=True,
        )
    gain, most = (statistics.median(one["alone"][name] / one["together"][name] for one in rounds) for name in ("epoch", "processor"))
    print(f"speed-up of two workers, one thread each: {gain:.2f} (target 1.6); by processor time {most:.2f}")
    return {"images": work.count, "rounds": rounds, "speed_up": gain, "by_processor": most}


def _timed(work: Work, count: int) -> dict:
    """The quickest of three epochs, and the processor time of a process in the last two; one process is kept to one core, so that it takes
    one thread.
    """
    there = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(there)[:count]))
    try:
        learning = work.learning(epochs=3, batch_size=128 // count, workers=count)
        with tempfile.TemporaryDirectory() as folder:
            place, began = Path(folder), time.perf_counter()
            lesson = Lesson(work.module(), Classes(), Clocked(work, place), work.examples(np.arange(256)), 0)
            checkpoints = Checkpoints(place / "state", "f", 1e9)
            fit = learn(lesson, learning, choose_device("auto"), checkpoints, site=Site(place / "team"), report=lambda *_: None)
            whole = time.perf_counter() - began
            clocks = [[float(line) for line in path.read_text().split()] for path in place.glob("*.clock")]
    finally:
        os.sched_setaffinity(0, there)
    seconds = [entry["seconds"] for entry in fit.history]
    steps = len(clocks[0]) // 3
    used = max((clock[-1] - clock[steps]) / (2 * steps - 1) * steps for clock in clocks)
    return {"epoch": min(seconds), "start": whole - sum(seconds), "processor": used}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["epoch", "workers"])
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", default="residual")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--depth", type=int, default=1)
    arguments = parser.parse_args()
    arguments.images = arguments.images or {"epoch": 50_000, "workers": 20_000}[arguments.what]
    found = {"epoch": epoch, "workers": workers}[arguments.what](arguments)
    OUT.mkdir(exist_ok=True)
    (OUT / f"networks-{arguments.what}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
