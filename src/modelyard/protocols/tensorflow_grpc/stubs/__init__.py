"""Message classes of TensorFlow Serving, made from the compiled ``tensorflow_serving.proto`` and what it imports."""

from __future__ import annotations

from pathlib import Path

from modelyard.protocols.descriptors import Stubs

STUBS = Stubs(Path(__file__).with_name("tensorflow_serving.pb"), "tensorflow.serving")
message = STUBS.message
