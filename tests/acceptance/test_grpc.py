"""gRPC of the whole product: several workers behind one port, refused to a second platform, and off where it is not wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.protocols.open_inference_grpc.stubs import message
from modelyard.testing.platform import free_port, running_platform

SERVICE = "/inference.GRPCInferenceService/"


@pytest.mark.timeout(120)
def test_every_worker_answers_on_the_one_port_and_nobody_else_may_take_it(tmp_path: Path) -> None:
    port = free_port()
    with (
        running_platform(tmp_path / "home", settings={"grpc_port": str(port)}) as platform,
        Client(platform.url, platform.admin_key) as client,
    ):
        client.push(write_adder(tmp_path / "adder.onnx", 5.0), "adder")
        client.deploy("adder@1", "adder")
        request = message("ModelInferRequest")(model_name="adder", raw_input_contents=[np.array([[1, 2]], np.float32).tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
        client.predict("adder", {"x": [[1.0, 2.0]]})
        for number in range(12):
            options = (("grpc.use_local_subchannel_pool", 1),)
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                body = channel.unary_unary(SERVICE + "ModelInfer")(
                    request.SerializeToString(),
                    metadata=(("authorization", f"Bearer {platform.admin_key}"),),
                    timeout=20,
                    wait_for_ready=True,
                )
            answer = message("ModelInferResponse").FromString(body)
            assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [6.0, 7.0], number
        other = subprocess.run(
            [sys.executable, "-m", "modelyard.cli.main", "up", "--home", str(tmp_path / "other"), "--port", "0", "--management-port", "0"],
            env=platform.environment | {"MODELYARD_GRPC_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert other.returncode == 1
        assert f"127.0.0.1:{port}, the port of gRPC, is in use" in other.stderr
