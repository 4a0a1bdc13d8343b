"""A real ONNX model on a real data plane, for protocols' routes: everything of a call but server and gate."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
from onnx import TensorProto, helper

from modelyard.core.deployments import DeploymentState, Route, ServedDeployment, ServedVersion
from modelyard.core.models import Artifact, Profile
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.onnx import RUNTIME
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.replica import Replica, Timing
from modelyard.serving.router import Lane, Routes
from modelyard.serving.statistics import CallStatistics
from unit.protocols.fakes import GRANT, FakeExchange, drive_exchange, make_exchange

CLASSES = ("Adelie", "Gentoo")


def half_plus_two(path):
    """The toy model of TensorFlow Serving's own examples."""
    nodes = [helper.make_node("Mul", ["x", "half"], ["m"]), helper.make_node("Add", ["m", "two"], ["y"])]
    constants = [helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]), helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])]
    _save(path, nodes, {"x": (TensorProto.FLOAT, ["n"])}, {"y": (TensorProto.FLOAT, ["n"])}, constants)


def classifier(path, *, echo=True):
    """Columns in, label and probabilities out, as our own training emits them; an unknown (NaN) mass counts as 0.

    With ``echo`` the island comes out again, as a third output.
    """
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("weights", TensorProto.FLOAT, [1, 2], [-1.0, 1.0]),
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
    ]
    nodes = [
        helper.make_node("IsNaN", ["mass"], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", "mass"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("LabelEncoder", ["best"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1], values_strings=list(CLASSES)),
        helper.make_node("Reshape", ["island", "flat"], ["island_bytes"]),
    ]
    inputs = {"mass": (TensorProto.FLOAT, ["n", 1]), "island": (TensorProto.STRING, ["n", 1])}
    outputs = {
        "label": (TensorProto.STRING, ["n"]),
        "probabilities": (TensorProto.FLOAT, ["n", 2]),
        "island_bytes": (TensorProto.STRING, ["n"]),
    }
    if not echo:
        del outputs["island_bytes"]
    _save(path, nodes, inputs, outputs, constants)


def _save(path, nodes, inputs, outputs, constants):
    def infos(given):
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in given.items()]

    graph = helper.make_graph(nodes, "model", infos(inputs), infos(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9)
    helper.set_model_props(model, {"modelyard.classes": json.dumps(CLASSES)} if "label" in outputs else {})
    onnx.save(model, path)


class Served:
    """Deployment ``demo`` of workspace 1, versions 1 and 2 of the same file, 2 called ``champion``."""

    def __init__(self, path):
        self.threads = ThreadPoolExecutor(1)
        self.plane = DataPlane()
        self.model = RUNTIME.load(path.parent, path.name, LoadOptions())
        self.loop = asyncio.new_event_loop()
        lanes = [self._lane(1, ()), self._lane(2, ("champion",))]
        deployment = ServedDeployment(
            id=1, workspace_id=1, name="demo", revision=1, routes=tuple(Route(version_id=number, weight=50) for number in (1, 2))
        )
        self.plane.put(Routes(deployment, lanes, DeploymentState.READY))

    def _lane(self, number, aliases):
        profile = Profile(row_independent=True, inline=True)
        version = ServedVersion(
            id=number,
            model="m",
            number=number,
            artifact=Artifact(format="onnx", digest="", files=(), entry="model.onnx"),
            signature=self.model.signature,
            profile=profile,
            aliases=aliases,
        )
        replica = Replica(self.model, Timing(10.0, 1.0))
        identity = Identity("m", number, number, self.model.signature)
        batcher = Batcher(replica, identity, profile, executor=self.threads, options=BatchOptions(), loop=self.loop)
        return Lane(version, 50, batcher, CallStatistics())

    def ask(self, protocol, method, target, body=b"", headers=None, grant=GRANT):
        """The answer of a route, which may come in a later turn of the loop."""
        return self.loop.run_until_complete(self._ask(protocol, make_exchange(method, target, body, headers, _Awaited), grant))

    async def _ask(self, protocol, exchange, grant):
        exchange.answered = asyncio.Event()
        drive_exchange(protocol, self.plane, exchange, grant)
        await exchange.answered.wait()
        return exchange.answer

    def close(self):
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.threads.shutdown()


class _Awaited(FakeExchange):
    __slots__ = ("answered",)

    def respond(self, *answer):
        super().respond(*answer)
        self.answered.set()


def softmax(mass):
    """What ``classifier`` gives."""
    scores = np.array([[-mass, mass]], np.float32)
    return (np.exp(scores) / np.exp(scores).sum())[0]
