from __future__ import annotations

import pytest

from integration.served import half_plus_two
from modelyard import Client
from modelyard.testing.platform import running_platform

PAGE = "https://app.example"


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """Deployments of one model: closed, public, for a page, cached, and both public and cached."""
    folder = tmp_path_factory.mktemp("web")
    half_plus_two(folder / "half.onnx")
    with running_platform(folder / "home", workers=1) as running, Client(running.url, running.admin_key) as client:
        client.push(folder / "half.onnx", "half")
        caching = {"max_age_seconds": 2}
        policies = {
            "closed": {},
            "open": {"public": {"requests_per_minute_by_address": 1000}},
            "scarce": {"public": {"requests_per_minute": 3}},
            "polite": {"public": {"requests_per_minute_by_address": 2}},
            "paged": {"cors": {"origins": [PAGE]}},
            "kept": {"caching": caching},
            "shown": {"public": {}, "caching": caching | {"stale_while_revalidate_seconds": 5}, "cors": {"origins": ["*"]}},
        }
        for name, policy in policies.items():
            client.deployments.put(name, ["half@1"], policy=policy)
        for name in policies:
            client.deployments.wait(name)
        yield running
