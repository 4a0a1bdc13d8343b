import pytest

from modelyard.server.settings import Settings
from modelyard.server.wiring import worker
from modelyard.serving.policies import Composer
from modelyard.store.home import Home


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "runs"), [(2, 2, 1, 1), (8, 2, 1, 4), (2, 8, 1, 1), (1, 1, 1, 1), (8, 2, 2, 2), (8, 2, 16, 1)]
)
def test_runs_at_once_are_the_workers_share_of_the_cores(cores, workers, threads, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "cores", lambda: cores)
    options = worker.reconciling(Settings(home=tmp_path, workers=workers, model_threads=threads), Home(tmp_path), 0, Composer())
    assert options.batch.concurrent == runs
    assert options.compute_threads == runs + 1
