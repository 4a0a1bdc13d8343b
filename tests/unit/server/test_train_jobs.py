"""What the controller makes of trainings by several workers."""

import msgspec
import pytest

from modelyard.core.jobs import Job, Limits
from modelyard.engines.cluster import LOCAL, Cluster
from modelyard.server.wiring.kinds import TrainJobs

THERE = "10.0.0.5:6379"


def kind(address):
    return TrainJobs(None, None, None, Cluster(address=address, wait_seconds=7)).kind()


@pytest.mark.parametrize(
    ("address", "engine", "expected"), [(LOCAL, "local", 3), (LOCAL, "ray", 3), (THERE, "local", 3), (THERE, "ray", 0)]
)
def test_workers_take_of_this_machine_only_where_they_run_on_it(address, engine, expected):
    assert kind(address).workers({"recipe": {"kind": "images", "learning": {"workers": 3, "engine": engine}}}) == expected


def test_the_workers_of_a_tables_network_are_counted_too():
    assert kind(THERE).workers({"recipe": {"settings": {"network": {"learning": {"workers": 2}}}}}) == 2


def test_a_job_is_told_the_cluster_and_what_each_worker_gets_of_it():
    job = Job(id=1, workspace_id=1, kind="train", spec={}, limits=Limits(cores=4, gpus=1))
    told = msgspec.convert(kind(THERE).facts(job)["cluster"], Cluster)
    assert told == Cluster(address=THERE, wait_seconds=7, cores=4, gpus=1)
    bare = Job(id=1, workspace_id=1, kind="train", spec={})
    assert kind(LOCAL).facts(bare)["cluster"]["cores"] == 1
