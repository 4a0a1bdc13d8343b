"""What our loop adds to a bare PyTorch loop, and what a second worker brings.

    python benchmarks/train/networks.py epoch   [--images 50000] [--rounds 3] [--network residual] [--width 8] [--depth 1]
    python benchmarks/train/networks.py workers [--images 20000] [--rounds 3] [--norms auto] …

- ``epoch``: one epoch of the same network on the same 32×32 images, batches, optimizer, schedule and clipping: in the leanest loop, and in
  ``Learner`` (checkpoints every 20 s, progress after every step, a loss that is looked at, two batches judged). Both work in turns of 10
  steps in one process, so that whatever else the machine does meets both. Told are wall and processor time of all of one way's turns over
  all of the other's, and the median over the turns, which leaves out what is done once.
- ``workers``: epochs of one process with one thread against those of two workers with one thread each, with the same rows in a step; what
  starting the processes takes is told apart. Needs two free cores; where others use them, the processor time that a process takes for
  an epoch says what two free cores would give at most. Before that the ceiling is measured: what two processes that know nothing of each
  other, each with the leanest loop, one thread and a core of its own, do in the time in which one of them does its steps alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
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


class Bare:
    """The loop as one writes it: shuffle, scale, forward, backward, clip, step."""

    def __init__(self, work: Work, size: int) -> None:
        self.work, self.module, self.size = work, work.module(), size
        self.shift, self.factor = (torch.from_numpy(values)[:, None, None] for values in (work.scaling.shift, work.scaling.factor))
        self.labels = torch.from_numpy(work.labels.astype(np.int64))
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=1e-3)
        self.order = np.random.default_rng(0).permutation(work.count)
        self.steps = -(-work.count // size)
        self.learning = work.learning()
        self.module.train()

    def step(self, at: int) -> None:
        rows = self.order[at * self.size : (at + 1) * self.size]
        inputs = torch.from_numpy(self.work.pixels[rows]).permute(0, 3, 1, 2).float()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.learning, at, self.steps)
        loss = functional.cross_entropy(self.module((inputs - self.shift) * self.factor), self.labels[torch.from_numpy(rows)])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()


class Turns:
    """Two ways of doing the same, one at a time, some steps each."""

    STEPS = 10

    def __init__(self, ways: dict) -> None:
        self._ways, self._names, self._turn = ways, list(ways), threading.Condition()
        self._now = self._names[0]
        self._left = set(ways)
        self.spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, args=(name,)) for name in self._names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, name: str) -> None:
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1
            if count % self.STEPS == 1 and count > 1:
                self._hand_over(name)
                self._take(name)

        self._take(name)
        self._ways[name](tick)
        self._left.discard(name)
        self._hand_over(name)

    def _take(self, name: str) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._now == name)
        self._began = time.perf_counter(), time.process_time()

    def _hand_over(self, name: str) -> None:
        self.spent[name].append((time.perf_counter() - self._began[0], time.process_time() - self._began[1]))
        with self._turn:
            others = [other for other in self._names if other != name and other in self._left]
            self._now = others[0] if others else name
            self._turn.notify_all()


class Ticking(ImageExamples):
    """Tells of each batch that is learned from."""

    def __init__(self, work: Work, tick) -> None:
        super().__init__(work.problem, np.arange(work.count), work.scaling, Augmentation())
        self._tick = tick

    def batch(self, rows, random):
        if random is not None:
            self._tick()
        return super().batch(rows, random)


def bare(work: Work, tick) -> None:
    loop = Bare(work, work.learning().batch_size)
    for at in range(loop.steps):
        tick()
        loop.step(at)


def ours(work: Work, tick) -> None:
    """The same epoch in the product's loop; what it is judged on is two batches."""
    with tempfile.TemporaryDirectory() as folder:
        learning = work.learning()
        learner = Learner(work.module(), Classes(), learning, choose_device("auto"), Checkpoints(Path(folder), "f", 20.0), seed=0)
        learner.fit(Ticking(work, tick), work.examples(np.arange(256)), lambda *_: None)


def epoch(arguments) -> dict:
    work = Work(arguments)
    choose_device("auto")
    sample = torch.zeros(128, 3, 32, 32)
    threads = fit_threads(work.module(), (sample,))
    rounds = []
    for _ in range(arguments.rounds):
        torch.set_num_threads(threads)
        turns = Turns({"bare": lambda tick: bare(work, tick), "ours": lambda tick: ours(work, tick)})
        turns.run()
        whole = {name: [sum(turn[at] for turn in spent) for at in (0, 1)] for name, spent in turns.spent.items()}
        pairs = list(zip(turns.spent["bare"], turns.spent["ours"], strict=False))
        steady = [statistics.median(mine[at] / theirs[at] for theirs, mine in pairs) for at in (0, 1)]
        rounds.append(whole | {"steady": steady})
        told = ", ".join(f"{name} {seconds:.1f} s, {cpu:.1f} s of processor" for name, (seconds, cpu) in whole.items())
        print(f"{told}; turn by turn {steady[0]:.3f}, {steady[1]:.3f}", flush=True)
    ratios = [statistics.median(one["ours"][at] / one["bare"][at] for one in rounds) for at in (0, 1)]
    steady = [statistics.median(one["steady"][at] for one in rounds) for at in (0, 1)]
    print(
        f"ours / bare, {threads} thread(s): wall {ratios[0]:.3f}, processor {ratios[1]:.3f} (target 1.05); "
        f"turn by turn {steady[0]:.3f}, {steady[1]:.3f}"
    )
    return {"images": work.count, "threads": threads, "rounds": rounds, "wall": ratios[0], "processor": ratios[1], "steady": steady}


def workers(arguments) -> dict:
    work = Work(arguments)
    rounds = []
    for _ in range(arguments.rounds):
        ceiling = _ceiling(arguments)
        alone, together = (_timed(work, count, arguments.norms) for count in (1, 2))
        rounds.append({"alone": alone, "together": together, "ceiling": ceiling})
        print(
            f"one process {alone['epoch']:.2f} s an epoch, {alone['processor']:.2f} s of processor; two workers {together['epoch']:.2f} s, "
            f"{together['processor']:.2f} s of processor each, started in {together['start']:.1f} s; "
            f"two apart do {ceiling['wall']:.2f} times as much as one (by processor time {ceiling['processor']:.2f})",
            flush=True,
        )
    gain, most = (statistics.median(one["alone"][name] / one["together"][name] for one in rounds) for name in ("epoch", "processor"))
    ceiling = {name: statistics.median(one["ceiling"][name] for one in rounds) for name in ("wall", "processor")}
    print(
        f"speed-up of two workers, one thread each: {gain:.2f} (target 1.6); by processor time {most:.2f}; "
        f"two processes apart: {ceiling['wall']:.2f}, by processor time {ceiling['processor']:.2f}"
    )
    return {"images": work.count, "norms": arguments.norms, "rounds": rounds, "speed_up": gain, "by_processor": most, "ceiling": ceiling}


def _ceiling(arguments, steps: int = 12) -> dict:
    """How many times as much two processes do that know nothing of each other: by the clock, and by what a step takes each of them."""
    start = multiprocessing.get_context("spawn")
    found = {}
    for count in (1, 2):
        ready, results = start.Barrier(count), start.Queue()
        cores = sorted(os.sched_getaffinity(0))
        processes = [start.Process(target=_steps_apart, args=(arguments, core, steps, ready, results)) for core in cores[:count]]
        for process in processes:
            process.start()
        times = [results.get() for _ in processes]
        for process in processes:
            process.join()
        found[count] = [max(time[at] for time in times) for at in (0, 1)]
    return {name: 2 * found[1][at] / found[2][at] for at, name in enumerate(("wall", "processor"))}


def _steps_apart(arguments, core: int, steps: int, ready, results) -> None:
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    loop = Bare(Work(arguments), 64)
    for at in range(3):
        loop.step(at)
    ready.wait()
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(3, 3 + steps):
        loop.step(at)
    results.put((time.perf_counter() - began, time.process_time() - cpu))


def _timed(work: Work, count: int, norms: str) -> dict:
    """The quickest of three epochs, and the processor time of a process in the last two; one process is kept to one core, so that it takes
    one thread.
    """
    there = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(there)[:count]))
    try:
        learning = work.learning(epochs=3, batch_size=128 // count, workers=count, norms=norms)
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
    parser.add_argument("--norms", default="auto", help="of workers: auto, shared or own (learning.norms)")
    arguments = parser.parse_args()
    arguments.images = arguments.images or {"epoch": 50_000, "workers": 20_000}[arguments.what]
    found = {"epoch": epoch, "workers": workers}[arguments.what](arguments)
    OUT.mkdir(exist_ok=True)
    (OUT / f"networks-{arguments.what}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
