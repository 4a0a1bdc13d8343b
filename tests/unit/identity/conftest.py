import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.deployments import Deployment, Target
from modelyard.store.database import Store


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    """With two deployments, ``iris`` and ``churn``."""
    store = Store.open(f"sqlite:///{tmp_path / 'test.db'}", clock)
    store.migrate()
    with store.write() as session:
        for name in ("iris", "churn"):
            session.deployments.add(Deployment(id=0, workspace_id=1, name=name, targets=(Target(model="m", version="1"),)))
    yield store
    store.close()
