"""The words of the TensorFlow Serving REST API: body keys, data types, and the documents of status and metadata."""

from __future__ import annotations

from typing import Any

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype

DEFAULT_SIGNATURE = "serving_default"
"""The one signature that a version has here."""

DTYPES: dict[Datatype, str] = {
    Datatype.BOOL: "DT_BOOL",
    Datatype.UINT8: "DT_UINT8",
    Datatype.UINT16: "DT_UINT16",
    Datatype.UINT32: "DT_UINT32",
    Datatype.UINT64: "DT_UINT64",
    Datatype.INT8: "DT_INT8",
    Datatype.INT16: "DT_INT16",
    Datatype.INT32: "DT_INT32",
    Datatype.INT64: "DT_INT64",
    Datatype.FP16: "DT_HALF",
    Datatype.BF16: "DT_BFLOAT16",
    Datatype.FP32: "DT_FLOAT",
    Datatype.FP64: "DT_DOUBLE",
    Datatype.BYTES: "DT_STRING",
}


def version_status(number: int, *, ready: bool) -> dict[str, Any]:
    """One entry of ``model_version_status``; numbers of 64 bits are text in protobuf's JSON."""
    return {
        "version": str(number),
        "state": "AVAILABLE" if ready else "LOADING",
        "status": {"error_code": "OK", "error_message": ""},
    }


def metadata_document(name: str, number: int, signature: Signature) -> dict[str, Any]:
    """The answer of ``/metadata``: the signature as a SignatureDef. The double ``signature_def`` is the protocol's own."""
    definition = {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(number)},
        "metadata": {"signature_def": {"signature_def": {DEFAULT_SIGNATURE: definition}}},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    return {
        "dtype": DTYPES[spec.datatype],
        "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in spec.wire_shape], "unknown_rank": False},
        "name": f"{spec.name}:0",
    }
