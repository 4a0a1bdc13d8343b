"""A job whose controller is killed: its process dies too, the next controller starts it again, and one version is stored."""

import contextlib
import os
import signal
import time
from pathlib import Path

import httpx

from modelyard import Client
from modelyard.core.errors import ModelyardError
from modelyard.core.jobs import JobStatus
from modelyard.testing.engine_contract import alive, wait_until_gone
from modelyard.testing.platform import running_platform

PENGUINS = Path(__file__).resolve().parents[3] / "examples" / "data" / "penguins.csv"


def test_job_is_started_again_by_the_next_controller_and_stores_one_version(tmp_path):
    with running_platform(tmp_path / "home", workers=1) as platform, Client(platform.url, platform.admin_key) as client:
        job = client.submit_training(PENGUINS, "species", name="killed", recipe={"families": ["logistic"]})
        until = time.monotonic() + 30
        while not (pid := client.jobs.get(job.id).pid):
            assert time.monotonic() < until
        os.kill(client.status()["controller"]["pid"], signal.SIGKILL)
        wait_until_gone(pid)
        ended = None
        while ended is None or not ended.status.ended:
            assert time.monotonic() < until + 60
            with contextlib.suppress(ModelyardError, httpx.TransportError):
                ended = client.jobs.get(job.id)
            time.sleep(0.1)
        assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 2)
        assert ended.result["version"] == 1
        assert len(client.models.versions("killed")) == 1
        assert "--- attempt 2 ---" in client.jobs.log(job.id).text
        assert not alive(pid)
