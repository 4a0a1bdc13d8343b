"""Methods of PredictionService and ModelService as routes; the protocol's "model" is a deployment, its labels are aliases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.descriptors import parse
from modelyard.protocols.open_inference_grpc.errors import error_reply
from modelyard.protocols.routing import Protocol, Reply, Route
from modelyard.protocols.tensorflow_grpc import mapping
from modelyard.protocols.tensorflow_grpc.stubs import STUBS, message
from modelyard.protocols.tensorflow_rest.mapping import regression_output, scores_output
from modelyard.protocols.tensorflow_rest.routes import wanted_version
from modelyard.protocols.tensorflow_rest.schemas import DEFAULT_SIGNATURE
from modelyard.serving.router import ServedView

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
_REQUESTS = {path: kinds[0] for service in ("PredictionService", "ModelService") for path, kinds in STUBS.methods(service).items()}
_CLASSIFIED, _REGRESSED = message("ClassificationResponse"), message("RegressionResponse")
_MULTI, _METADATA, _STATUS = message("MultiInferenceResponse"), message("GetModelMetadataResponse"), message("GetModelStatusResponse")
_METHODS = ("tensorflow/serving/classify", "tensorflow/serving/regress")


def _locate(call: Call) -> None:
    """Reads the message, and the deployment and version that its ModelSpec names."""
    call.message = wire = parse(_REQUESTS[call.exchange.path], call.exchange.body)
    if hasattr(wire, "tasks"):
        _check_tasks(wire)
        spec = wire.tasks[0].model_spec
    else:
        spec = wire.model_spec
    if not spec.name:
        raise InvalidRequest("The request names no model; give the name of a deployment in model_spec.")
    if spec.signature_name not in ("", DEFAULT_SIGNATURE):
        raise InvalidRequest(f"There is no signature {spec.signature_name[:64]!r}; every model here has {DEFAULT_SIGNATURE!r} only.")
    call.params["name"] = spec.name
    chosen = spec.WhichOneof("version_choice")
    if chosen == "version":
        call.params["version"] = str(spec.version.value)
    elif chosen == "version_label":
        call.params["label"] = spec.version_label


def _check_tasks(wire: Any) -> None:
    if not wire.tasks:
        raise InvalidRequest("The request has no tasks; give at least one.")
    first = wire.tasks[0].model_spec
    for task in wire.tasks:
        if task.method_name not in _METHODS:
            raise InvalidRequest(f"A task's method is {task.method_name[:64]!r}; it must be one of {', '.join(_METHODS)}.")
        if task.model_spec != first:
            raise InvalidRequest("All tasks of a MultiInference must name the same model, version and signature.")


def _view(call: Call) -> tuple[str, ServedView]:
    """The version that is asked for, as written, and the one that answers."""
    version = wanted_version(call)
    return version, call.choose(version)


def predict(call: Call) -> None:
    version, view = _view(call)
    asked = tuple(dict.fromkeys(call.message.output_filter))

    def encode(response: InferResponse) -> Reply:
        return 200, (), mapping.encode_predicted(call.name, response, asked)

    call.infer(InferRequest(mapping.decode_inputs(call.message), outputs=asked, version=version or view.pin), encode)


def classify(call: Call) -> None:
    _infer_examples(call, ("tensorflow/serving/classify",), _classification)


def regress(call: Call) -> None:
    _infer_examples(call, ("tensorflow/serving/regress",), _regression)


def multi_inference(call: Call) -> None:
    """Classifies and regresses the same examples in one run of the model."""
    _infer_examples(call, tuple(task.method_name for task in call.message.tasks), _several)


Results = dict[str, Any]
"""ClassificationResult or RegressionResult by the method."""


def _infer_examples(call: Call, methods: tuple[str, ...], answer: Callable[[Call, InferResponse, Results], Any]) -> None:
    version, view = _view(call)
    outputs = {method: (scores_output if method == _METHODS[0] else regression_output)(view.signature).name for method in methods}
    inputs = mapping.decode_examples(call.message.input, view.signature)

    def encode(response: InferResponse) -> Reply:
        results: Results = {}
        for method, output in outputs.items():
            values = response.outputs[output]
            results[method] = mapping.classified(values, response.signature.classes) if method == _METHODS[0] else mapping.regressed(values)
        return 200, (), answer(call, response, results).SerializeToString()

    wanted = tuple(dict.fromkeys(outputs.values()))
    call.infer(InferRequest(inputs, outputs=wanted, version=version or view.pin), encode)


def _classification(call: Call, response: InferResponse, results: Results) -> Any:
    answer = _CLASSIFIED(result=results[_METHODS[0]])
    mapping.fill_spec(answer.model_spec, call.name, response.version)
    return answer


def _regression(call: Call, response: InferResponse, results: Results) -> Any:
    answer = _REGRESSED(result=results[_METHODS[1]])
    mapping.fill_spec(answer.model_spec, call.name, response.version)
    return answer


def _several(call: Call, response: InferResponse, results: Results) -> Any:
    answer = _MULTI()
    for task in call.message.tasks:
        result = answer.results.add()
        mapping.fill_spec(result.model_spec, call.name, response.version)
        field = "classification_result" if task.method_name == _METHODS[0] else "regression_result"
        getattr(result, field).CopyFrom(results[task.method_name])
    return answer


def metadata(call: Call) -> None:
    """The signature of a version, in the one metadata field that there is."""
    if list(call.message.metadata_field) != ["signature_def"]:
        raise InvalidRequest("metadata_field must be 'signature_def', which is the only metadata there is.")
    view = call.plane.served(call.grant.workspace_id, call.name, wanted_version(call))
    answer = _METADATA()
    mapping.fill_spec(answer.model_spec, call.name, view.number)
    answer.model_spec.signature_name = ""
    answer.metadata["signature_def"].Pack(mapping.signature_map(view.signature))
    call.reply(200, (), answer.SerializeToString())


def status(call: Call) -> None:
    """States of versions: of all, or of the one that is asked for."""
    wanted = wanted_version(call)
    view = call.plane.served(call.grant.workspace_id, call.name, wanted)
    answer = _STATUS()
    for number in [view.number] if wanted else sorted(view.versions, reverse=True):
        ready = call.plane.ready(call.grant.workspace_id, call.name, str(number))
        answer.model_version_status.add(version=number, state="AVAILABLE" if ready else "LOADING").status.SetInParent()
    call.reply(200, (), answer.SerializeToString())


def _routes() -> tuple[Route, ...]:
    named = partial(Route, "POST", names_deployment=True, locate=_locate)
    return (
        named(_PREDICTION + "Predict", Action.INFER, predict, CallKind.INFER),
        named(_PREDICTION + "Classify", Action.INFER, classify, CallKind.INFER),
        named(_PREDICTION + "Regress", Action.INFER, regress, CallKind.INFER),
        named(_PREDICTION + "MultiInference", Action.INFER, multi_inference, CallKind.INFER),
        named(_PREDICTION + "GetModelMetadata", Action.INFER, metadata, CallKind.METADATA),
        named(_MODEL + "GetModelStatus", Action.INFER, status, CallKind.METADATA),
    )


PROTOCOL = Protocol("tensorflow-grpc", ProtocolId.TENSORFLOW_GRPC, _routes(), error_reply)
