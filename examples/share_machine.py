"""A workspace gets its part of the machine, and its jobs wait in line by priority: against a running platform.

    modelyard up &
    python examples/share_machine.py penguins@1 examples/data/penguins.csv

The jobs are small ones: each has a version answer the rows of a file.
"""

from __future__ import annotations

import sys

from modelyard.core.jobs import Limits
from modelyard.sdk.client import Client

PRIORITIES = (50, 0, 100)
"""In the order of coming. The first begins at once, because nobody is there yet; of the others the more urgent one goes first."""


def main(version: str, data: str) -> int:
    """The whole way; the exit status."""
    with Client() as client:
        workspace = client.whoami().workspace
        pool = client.pools.set(workspace, jobs=1, share=2.0)
        print(f"{workspace}: {pool.jobs} job at a time, of {pool.platform_cores:g} cores, with twice the share of others")
        try:
            dataset = client.datasets.upload(data, "shared")
            spec = {"version": version, "dataset": f"{dataset.name}@{dataset.number}"}
            jobs = [client.jobs.submit("predict", spec, priority=priority, limits=Limits(cores=1)) for priority in PRIORITIES]
            ended = [client.jobs.wait(job.id) for job in jobs]
        finally:
            client.pools.set(workspace)
        for job in sorted(ended, key=lambda one: one.started_ns):
            waited, took = (job.started_ns - job.created_ns) / 1e9, (job.ended_ns - job.started_ns) / 1e9
            print(f"job {job.id} of priority {job.priority} waited {waited:.1f} s and took {took:.1f} s")
        used = client.platform.resources()
        print(f"{used.machine.cores} cores, {used.machine.memory_available_bytes / 2**30:.1f} GiB of memory free")
        for process in sorted(used.processes, key=lambda one: -one.memory_bytes)[:5]:
            print(f"  {process.name}: {process.cpu_seconds:.1f} s of processor time, {process.memory_bytes / 2**20:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
