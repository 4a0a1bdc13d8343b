"""A data plane around Python functions, and calls whose outcomes are awaited."""

from __future__ import annotations

import asyncio

import numpy as np

from modelyard.core.deployments import DeploymentState
from modelyard.core.inference import InferRequest
from modelyard.core.models import Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.replica import Replica, Timing
from modelyard.serving.router import Lane, Routes
from modelyard.serving.statistics import CallStatistics
from modelyard.testing.fakes import FunctionModel, served_deployment, served_version

FAST, SLOW = Timing(1.0, 0.0), Timing(1e6, 0.0)
BATCHED = Profile(row_independent=True, inline=True)


def signature(shape=("n", 2), datatype=Datatype.FP32, output=None):
    return Signature(
        inputs=(TensorSpec(name="x", datatype=datatype, shape=shape),),
        outputs=(TensorSpec(name="y", datatype=datatype, shape=output or shape),),
    )


def doubling(shape=("n", 2)):
    return FunctionModel(signature(shape), lambda inputs: {"y": inputs["x"] * 2})


def batcher(model, executor, *, profile=BATCHED, timing=FAST, **options):
    identity = Identity("m", 1, 11, model.signature)
    loop = asyncio.get_running_loop()
    return Batcher(Replica(model, timing), identity, profile, executor=executor, options=BatchOptions(**options), loop=loop)


def lane(version, made, weight=100):
    return Lane(version, weight, made, CallStatistics())


def plane_with(made, model, name="demo", **version):
    plane = DataPlane()
    lanes = [lane(served_version(11, model.signature, **version), made)]
    plane.put(Routes(served_deployment(name, {11: 100}), lanes, DeploymentState.READY))
    return plane


def rows(*values):
    return np.array([[value, value] for value in values], np.float32)


def call(plane, inputs, *, workspace=1, name="demo", admit=None, **more):
    """A future with the outcome of a call, error or response."""
    future = asyncio.get_running_loop().create_future()
    request = InferRequest(inputs, **more)
    request.admit = admit
    plane.infer(workspace, name, request, future.set_result)
    return future
