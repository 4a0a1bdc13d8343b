"""Pushing a large file: memory of client and controller, time, and going on after the connection broke.

usage: python benchmarks/push.py [--megabytes 500]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from acceptance.test_kills import processes
from integration.control.test_resuming import CuttingProxy
from modelyard import Client
from modelyard.testing.platform import running_platform


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=500)
    size = parser.parse_args().megabytes << 20
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder) / "home", workers=1) as platform:
        path = Path(folder) / "large.bin"
        with path.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        (controller,) = processes(platform, "controller")
        own = psutil.Process()
        before, peaks, stop = (controller.memory_info().rss, own.memory_info().rss), [0, 0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.02):
                peaks[0] = max(peaks[0], controller.memory_info().rss)
                peaks[1] = max(peaks[1], own.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        proxy = CuttingProxy(platform.url, after=size // 4, times=2)
        began = time.perf_counter()
        with Client(proxy.url, platform.admin_key, timeout=300) as client:
            done = client.models.upload(path)
        seconds = time.perf_counter() - began
        stop.set()
        watcher.join()
        proxy.close()
        assert done.size == size
    print(f"{size >> 20} MiB in {seconds:.1f} s, the connection broken {2 - proxy.left} times")
    for name, at in (("controller", 0), ("client and proxy", 1)):
        print(f"{name:18} {before[at] >> 20:5} MiB before, {peaks[at] >> 20:5} MiB at most")


if __name__ == "__main__":
    main()
