"""``Live`` with a language model behind ``demo``, and an embedding model behind nothing else than its signature."""

from __future__ import annotations

from integration.live import SCOPED, Live
from integration.served import half_plus_two
from modelyard.core.deployments import DeploymentState, Route, ServedDeployment, ServedVersion
from modelyard.core.models import Artifact, Profile
from modelyard.protocols.anthropic.routes import PROTOCOL as ANTHROPIC
from modelyard.protocols.open_inference_rest.routes import PROTOCOL as OPEN_INFERENCE
from modelyard.protocols.openai.routes import PROTOCOL as OPENAI
from modelyard.protocols.tensorflow_rest.routes import PROTOCOL as TENSORFLOW
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.replica import Replica, Timing
from modelyard.serving.router import Lane, Routes
from modelyard.serving.statistics import CallStatistics

KEY = SCOPED


class LiveLanguage(Live):
    """Serves ``model`` as version 3 of ``demo``."""

    def __init__(self, folder, model, protocols=(OPENAI, ANTHROPIC, TENSORFLOW, OPEN_INFERENCE)):
        super().__init__(folder, half_plus_two, protocols)
        self.model = model
        profile = Profile(row_independent=False)
        version = ServedVersion(
            id=3,
            model="words",
            number=3,
            artifact=Artifact(format="openvino", digest="", files=(), entry="openvino_model.xml"),
            signature=model.signature,
            profile=profile,
            aliases=("champion",),
        )
        identity = Identity("words", 3, 3, model.signature)
        batcher = Batcher(
            Replica(model, Timing(10.0, 1.0)),
            identity,
            profile,
            executor=self.served.threads,
            options=BatchOptions(),
            loop=self.served.loop,
        )
        self.statistics = CallStatistics()
        lane = Lane(version, 100, batcher, self.statistics)
        deployment = ServedDeployment(id=1, workspace_id=1, name="demo", revision=2, routes=(Route(version_id=3, weight=100),))
        self.served.plane.put(Routes(deployment, [lane], DeploymentState.READY))

    def __exit__(self, *details):
        super().__exit__(*details)
        self.model.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"
