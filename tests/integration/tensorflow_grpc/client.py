"""Run as a process of its own, with a real client's stubs on the path: makes the calls on standard input, prints the answers as JSON.

Each call is a method, the fields of its request, and a deadline; each answer ``{"code": …, "message": …}`` or the fields of the response.
(protobuf's own JSON form does not know the maps of stubs from old compilers.)
"""

from __future__ import annotations

import base64
import json
import sys

import grpc

TYPES = {"DT_FLOAT": 1, "DT_STRING": 7, "DT_COMPLEX64": 8}


def stub_of(channel, method):
    if method == "GetModelStatus":
        from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

        return model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus, get_model_status_pb2.GetModelStatusRequest
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        inference_pb2,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    kinds = {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "MultiInference": inference_pb2.MultiInferenceRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    }
    return getattr(prediction_service_pb2_grpc.PredictionServiceStub(channel), method), kinds[method]


def fill(message, fields):
    for name, value in fields.items():
        field = getattr(message, name)
        if isinstance(value, dict):
            if hasattr(field, "DESCRIPTOR"):
                field.SetInParent()
                fill(field, value)
            else:
                for key, inner in value.items():
                    fill(field[key], inner)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    fill(field.add(), item)
                else:
                    field.append(base64.b64decode(item) if isinstance(item, str) and name in {"string_val", "value"} else item)
        elif name == "tensor_content":
            message.tensor_content = base64.b64decode(value)
        elif name == "version":
            field.value = value
        else:
            setattr(message, name, TYPES[value] if name == "dtype" else value)
    return message


def told(value):
    if hasattr(value, "ListFields"):
        return {field.name: told(inner) for field, inner in value.ListFields()}
    if hasattr(value, "items"):
        return {key: told(inner) for key, inner in value.items()}
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [told(item) for item in value]


def main():
    address, key = sys.argv[1:3]
    answers = []
    with grpc.insecure_channel(address) as channel:
        for method, fields, timeout in json.load(sys.stdin):
            call, kind = stub_of(channel, method)
            metadata = (("authorization", f"Bearer {key}"),) if key else ()
            try:
                response = call(fill(kind(), fields), timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                answers.append({"code": error.code().name, "message": error.details()})
                continue
            answer = told(response)
            if method == "GetModelMetadata":
                from tensorflow_serving.apis import get_model_metadata_pb2

                found = get_model_metadata_pb2.SignatureDefMap()
                assert response.metadata["signature_def"].Unpack(found)
                answer["map"] = told(found)
            answers.append(answer)
    print(json.dumps(answers))


main()
