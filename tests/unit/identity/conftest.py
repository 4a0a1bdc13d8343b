import pytest

from modelyard.core.deployments import Deployment, Target


@pytest.fixture
def store(store):
    """With two deployments, ``iris`` and ``churn``."""
    with store.write() as session:
        for name in ("iris", "churn"):
            session.deployments.add(Deployment(id=0, workspace_id=1, name=name, targets=(Target(model="m", version="1"),)))
    return store
