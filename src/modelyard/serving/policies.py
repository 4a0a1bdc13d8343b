"""Puts in front of a deployment's versions what its policy asks for; without a policy nothing is put anywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from modelyard.core.deployments import DeploymentState, ServedDeployment
from modelyard.core.errors import InvalidRequest
from modelyard.core.policy import EMPTY, Policy
from modelyard.serving.router import Lane, Routes
from modelyard.serving.sticky import StickyChoice

logger = logging.getLogger(__name__)

Compose = Callable[[ServedDeployment, Sequence[Lane], DeploymentState, str], Routes]
"""Makes the routes of a deployment from the lanes of its loaded versions."""


class PolicyComposer:
    """One for each worker. Belongs to the event loop."""

    def __call__(self, deployment: ServedDeployment, lanes: Sequence[Lane], state: DeploymentState, reason: str = "") -> Routes:
        """As ``Routes``, with what the deployment's policy asks for."""
        if not deployment.policy:
            return Routes(deployment, lanes, state, reason)
        policy = _policy(deployment)
        routes = Routes(deployment, lanes, state, reason)
        if policy.sticky is not None:
            routes.sticky = StickyChoice(policy.sticky, [(lane.version.id, lane.weight) for lane in lanes if lane.weight])
        return routes


def _policy(deployment: ServedDeployment) -> Policy:
    try:
        return Policy.of(deployment.policy)
    except InvalidRequest as error:  # only one that was stored before policies were checked
        logger.warning("Deployment %s is served without its policy: %s", deployment.name, error.message)
        return EMPTY
