"""What is fuzzed: every parser that bytes of a stranger reach, each as a function of bytes that raises Fault when it misbehaves.

A refusal is good behaviour. A fault is an exception that is not a refusal, an answer of 500, or no answer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from integration.fronts.memory import ManualLoop, MemoryTransport
from integration.served import Served, classifier
from modelyard.core.addresses import Proxies, networks
from modelyard.core.bindings import parse_binding
from modelyard.core.clock import ManualClock
from modelyard.core.durations import parse_duration, parse_expiry, parse_moment
from modelyard.core.errors import ModelyardError
from modelyard.core.graph import plan
from modelyard.core.hosting import Came, Hosted, Told
from modelyard.core.limits import parse_money, parse_quantity
from modelyard.core.policy import parse_policy
from modelyard.gate.authenticate import Authenticator
from modelyard.protocols.anthropic.routes import PROTOCOL as ANTHROPIC
from modelyard.protocols.context import read_context
from modelyard.protocols.feedback.routes import create_protocol as create_feedback
from modelyard.protocols.mlflow.routes import PROTOCOL as MLFLOW
from modelyard.protocols.multipart import read_form
from modelyard.protocols.open_inference_grpc.routes import PROTOCOL as INFERENCE_GRPC
from modelyard.protocols.open_inference_grpc.routes import STREAMED
from modelyard.protocols.open_inference_rest.routes import PROTOCOL as INFERENCE
from modelyard.protocols.openai.routes import PROTOCOL as OPENAI
from modelyard.protocols.records.routes import PROTOCOL as RECORDS
from modelyard.protocols.sagemaker.models import create_protocol as create_sagemaker
from modelyard.protocols.tensorflow_grpc.routes import PROTOCOL as TENSORFLOW_GRPC
from modelyard.protocols.tensorflow_rest.routes import PROTOCOL as TENSORFLOW
from modelyard.protocols.text_embeddings.routes import PROTOCOL as TEXT_EMBEDDINGS
from modelyard.protocols.vertex.mapping import decode as decode_vertex
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.handler import Handler
from unit.protocols.fakes import GRANT, FakeExchange

Target = Callable[[bytes], None]
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
ANSWER_SECONDS = 60.0


class Fault(Exception):
    """A parser misbehaved."""


class _Open:
    """A gate that admits everybody, so that what is behind it is reached."""

    openness = None

    def authenticate(self, headers, query, *_):
        return GRANT

    def certified(self, *_):
        return None

    def admit(self, *_):
        return None


class _Asked(FakeExchange):
    __slots__ = ()


class Plane:
    """Every protocol over a model that takes a number and a text, on a loop that is turned by hand."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "model.onnx"
        classifier(path)
        self.served = Served(path)
        self.served.plane.accepting = True
        asyncio.set_event_loop(self.served.loop)
        feedback = create_feedback(lambda _: None, ManualClock())
        protocols = (INFERENCE, TENSORFLOW, RECORDS, MLFLOW, OPENAI, ANTHROPIC, TEXT_EMBEDDINGS, feedback)
        self.http = Handler(protocols, _Open(), self.served.plane)
        self.grpc = self.http.carrying((INFERENCE_GRPC, STREAMED, TENSORFLOW_GRPC))
        hosted = {"m": Hosted(name="m", url="/opt/ml/models/m/model", deployment="demo")}
        sagemaker = create_sagemaker(lambda: hosted, lambda _: Told(came=Came.NO_ROOM, message="no room"))
        self.models = Handler((sagemaker,), _Open(), self.served.plane)

    def ask(self, handler, method, target, body, headers):
        exchange = _Asked(method, target, body, headers)
        self.served.loop.call_soon(handler, exchange)
        loop, until = self.served.loop, time.monotonic() + ANSWER_SECONDS
        while exchange.answer is None and time.monotonic() < until:
            loop.call_soon(loop.stop)  # a run that was slow lately goes to a thread, so this may take many turns
            loop.run_forever()
        if exchange.answer is None:
            raise Fault(f"{method} {target} was not answered.")
        self.check(method, target, exchange.answer)

    def check(self, method, target, answer):
        grpc = answer.headers.get(b"grpc-status")
        if answer.status == 500 or grpc == b"13":
            raise Fault(f"{method} {target} answered {answer.status}: {answer.body[:300]!r} {answer.headers.get(b'grpc-message')!r}")


def targets() -> dict[str, Target]:
    """Every target by its name."""
    plane = Plane()
    found = {
        "http1": http1,
        "text": text,
        "form": form,
        "headers": headers,
        "json": documents(plane),
        "graph": graphs(plane),
        "models": models(plane),
    }
    for number, (name, method, target, given) in enumerate(CALLS):
        found[f"call-{number:02d}-{name}"] = call(plane, method, target, given)
    for protocol in (INFERENCE_GRPC, STREAMED, TENSORFLOW_GRPC):
        for route in protocol.routes:
            found[f"grpc-{route.pattern.rpartition('/')[2]}-{protocol.name}"] = message(plane, route.pattern)
    return found


JSON, CSV = {b"content-type": b"application/json"}, {b"content-type": b"text/csv"}
CALLS = [
    ("infer", "POST", "/v2/models/demo/infer", {}),
    ("infer-binary", "POST", "/v2/models/demo/infer", {b"inference-header-content-length": b"150"}),
    ("predict", "POST", "/v1/models/demo:predict", {}),
    ("classify", "POST", "/v1/models/demo/versions/2:classify", {}),
    ("regress", "POST", "/v1/models/demo/labels/champion:regress", {}),
    ("records", "POST", "/v1/deployments/demo/predict", JSON),
    ("records-csv", "POST", "/v1/deployments/demo/predict", CSV),
    ("invocations", "POST", "/deployments/demo/invocations", JSON),
    ("invocations-csv", "POST", "/deployments/demo/invocations", CSV),
    ("index", "POST", "/v2/repository/index", {}),
    ("gzip", "POST", "/v1/deployments/demo/predict", {b"content-encoding": b"gzip"}),
    ("deflate", "POST", "/v1/deployments/demo/predict", {b"content-encoding": b"deflate"}),
    # What is sent to models of text is read before it shows that this one is none.
    ("chat", "POST", "/v1/chat/completions", JSON),
    ("completions", "POST", "/v1/completions", JSON),
    ("responses", "POST", "/v1/responses", JSON),
    ("messages", "POST", "/v1/messages", JSON),
    ("embeddings", "POST", "/v1/embeddings", JSON),
    ("tokenize", "POST", "/tokenize", JSON),
    ("generate", "POST", "/v2/models/demo/generate", JSON),
    *[(f"texts-{path}", "POST", f"/deployments/demo/{path}", JSON) for path in ("embed", "similarity", "rerank", "predict", "decode")],
    ("feedback", "POST", "/v1/deployments/demo/feedback", JSON),
]


def call(plane: Plane, method: str, target: str, given: dict[bytes, bytes]) -> Target:
    return lambda data: plane.ask(plane.http, method, target, data, dict(given))


def message(plane: Plane, path: str) -> Target:
    return lambda data: plane.ask(plane.grpc, "POST", path, data, {})


def http1(data: bytes) -> None:
    """Bytes of a connection, whole and in two pieces: each answer has a status, and the front never fails."""
    for pieces in ((data,), (data[: len(data) // 2], data[len(data) // 2 :])):
        loop = ManualLoop()
        front = Http1Front(lambda exchange: exchange.respond(200, (), exchange.body), FrontConfig(max_body_bytes=1 << 16), loop)
        transport = MemoryTransport(front.new_connection())
        for piece in pieces:
            if transport.reading and not transport.eof:
                transport.feed(piece)
            loop.turn()
        transport.end()
        for status in _STATUS.findall(transport.written):
            if status == b"500":
                raise Fault(transport.written[:300].decode("latin-1"))


def text(data: bytes) -> None:
    """What people write into settings, limits and policies."""
    written = data.decode("utf-8", "replace")
    for parse in (
        parse_quantity,
        parse_money,
        parse_duration,
        lambda value: parse_expiry(value, 1),
        lambda value: parse_moment(value, 1),
        parse_binding,
        lambda value: networks(value, "SETTING"),
        lambda value: Proxies(value, "SETTING"),
    ):
        with suppress(ModelyardError):
            parse(written)


def form(data: bytes) -> None:
    """A form with files; its content type is the first line."""
    content_type, _, body = data.partition(b"\n")
    with suppress(ModelyardError):
        read_form(content_type, body)


class _NoGrants:
    seen_ns = 0

    def grant(self, digest):
        return None


_AUTHENTICATOR = Authenticator(_NoGrants())
_NAMES = [b"traceparent", b"x-request-timeout", b"origin", b"authorization", b"x-api-key", b"api-key", b"forwarded", b"x-forwarded-for"]


def headers(data: bytes) -> None:
    """Headers that are read before anything of a call is known; one a line, after the number of its name."""
    found: dict[bytes, bytes] = {}
    for line in data.split(b"\n")[:16]:
        found[_NAMES[line[0] % len(_NAMES)] if line else b"origin"] = line[1:]
    with suppress(ModelyardError):
        read_context(found, 1)
    Proxies("10.0.0.0/8", "SETTING").client(found, "10.0.0.1")
    with suppress(ModelyardError):
        _AUTHENTICATOR.authenticate(found, data.decode("latin-1"), *["10.0.0.1"] * (_AUTHENTICATOR.authenticate.__code__.co_argcount - 3))


def documents(plane: Plane) -> Target:
    """JSON that is read outside of calls: policies, and Vertex's bodies; and any text as the query of a prediction."""

    def read(data: bytes) -> None:
        with suppress(ModelyardError):
            decode_vertex(data, plane.served.model.signature)
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            with suppress(ModelyardError):
                parse_policy(document)
        query = data.decode("latin-1").partition("#")[0]
        if query.isprintable() and query.isascii():
            plane.ask(plane.http, "GET", f"/v1/deployments/demo/predict?{query}", b"", {})

    return read


def graphs(plane: Plane) -> Target:
    """Graphs that a policy declares, fitted together over versions that all have the signature of the model."""

    def read(data: bytes) -> None:
        with suppress(ValueError, RecursionError, ModelyardError):
            policy = parse_policy({"graph": json.loads(data)})
            if policy.graph is not None:
                plan(policy.graph, lambda _: plane.served.model.signature)

    return read


def models(plane: Plane) -> Target:
    """Routes of a SageMaker multi-model container: the body of a load, and any text as a model's name and as a query."""

    def read(data: bytes) -> None:
        plane.ask(plane.models, "POST", "/models", data, {})
        said = data.decode("latin-1").partition("#")[0]
        if said.isprintable() and said.isascii() and " " not in said:
            plane.ask(plane.models, "GET", f"/models?{said}", b"", {})
            for method in ("GET", "DELETE"):
                plane.ask(plane.models, method, f"/models/{said.partition('?')[0]}", b"", {})

    return read


def seeds() -> dict[str, list[bytes]]:
    """A first good input of each target, from which the kept corpus grew."""
    record = b'{"records":[{"mass":1.5,"island":"Dream"},{"mass":null,"island":""}]}'
    tensors = (
        b'{"id":"7","inputs":[{"name":"mass","shape":[1,1],"datatype":"FP32","data":[1.5]},'
        b'{"name":"island","shape":[1,1],"datatype":"BYTES","data":["Dream"]}],"outputs":[{"name":"label"}]}'
    )
    rows = b'{"instances":[{"mass":[1.5],"island":["Dream"]}]}'
    examples = b'{"context":{"island":"Dream"},"examples":[{"mass":1.5},{"mass":[2.5]}]}'
    policy = (
        b'{"public":{"requests_per_minute":5},"cors":{"origins":["*"]},"caching":{"max_age_seconds":1},"sticky":{"by":"header","header":"x"},'
        b'"rollout":{"candidate":"m@2","steps":[5,50]},"shadow":{"version":"m@2"}}'
    )
    split = b'{"dataframe_split":{"columns":["mass","island"],"data":[[1.5,"Dream"]]},"params":{"pyfunc_predict_fn":"predict_proba"}}'
    return {
        "http1": [
            b"POST /v2/models/demo/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
            b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n4;a=b\r\nbody\r\n0\r\nt: x\r\n\r\n",
            b"GET /a%20b/../c?d=e HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        ],
        "text": [b"100 requests/min", b"10.50 EUR/month", b"7d", b"2027-01-31T10:00:00Z", b"10.0.0.0/8, unix, ::1", b"subject:CN=a,O=b"],
        "headers": [
            b"\x0000-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n\x01250ms\n\x02https://a.example",
            b'\x03Bearer my_abc_0123\n\x06for=192.0.2.60;proto=http, for="[2001:db8::1]:80"\n\x07203.0.113.1, 10.0.0.2',
        ],
        "json": [
            rows,
            b"mass=1.5&island=Dream&version=champion",
            policy,
        ],
        "graph": [
            b'{"kind":"sequence","steps":["m@1",{"kind":"ensemble","members":["m@2","m@champion"],"weights":[1,2.5]}]}',
            b'{"kind":"switch","field":"island","cases":{"Dream":"m@1"},"default":"m@2"}',
            b'{"kind":"split","branches":["m@1","m@2"],"weights":[0.3,0.7]}',
        ],
        "form": [_FORM],
        **_texts(),
        "models": [b'{"model_name":"m","url":"/opt/ml/models/m/model"}', b"limit=2&next_page_token=m", b"m"],
        "call": [record, tensors, rows, examples, split, b"mass,island\n1.5,Dream\nNA,\n", b'{"ready":true}'],
        "grpc": list(itertools.chain.from_iterable(_messages())),
    }


_FORM = (
    b'multipart/form-data; boundary="x"\n--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
    b'Content-Disposition: form-data; name="file"; filename="a%22b.jsonl"\r\nContent-Type: text/plain\r\n\r\n{}\r\n--x--\r\n'
)


def _texts() -> dict[str, list[bytes]]:
    """Of protocols for models of text, by the names of their calls."""
    schema = b'{"type":"object","properties":{"adult":{"type":"boolean"}},"required":["adult"],"additionalProperties":false}'
    tool = b'{"type":"function","function":{"name":"look_up","parameters":' + schema + b"}}"
    messages = b'"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"u"}]}]'
    sampling = b'"temperature":0.5,"top_p":0.9,"seed":7,"stop":["x"],"logit_bias":{"5":-100},"n":2'
    return {
        "chat": [
            b'{"model":"demo",' + messages + b',"max_tokens":4,' + sampling + b',"tools":[' + tool + b'],"tool_choice":"required"}',
            b'{"model":"demo",'
            + messages
            + b',"stream":true,"response_format":{"type":"json_schema","json_schema":{"name":"p","schema":'
            + schema
            + b"}}}",
        ],
        "completions": [b'{"model":"demo@1","prompt":["a",[1,2]],"echo":true,"logprobs":2,' + sampling + b"}"],
        "responses": [b'{"model":"demo","input":[{"role":"user","content":"u"}],"max_output_tokens":4,"text":{"format":{"type":"text"}}}'],
        "messages": [
            b'{"model":"demo","system":"s","max_tokens":4,"messages":[{"role":"user","content":"u"}],'
            b'"tools":[{"name":"look_up","input_schema":' + schema + b'}],"tool_choice":{"type":"any"}}'
        ],
        "embeddings": [
            b'{"model":"demo","input":["a","b"],"encoding_format":"base64","dimensions":4}',
            b'{"model":"demo","input":[[1,2],[3]]}',
        ],
        "tokenize": [b'{"model":"demo","prompt":"a b"}', b'{"model":"demo",' + messages + b"}"],
        "generate": [b'{"text_input":"a","max_tokens":4,"stream":false,"parameters":{"temperature":0.5}}'],
        "texts-embed": [b'{"inputs":["a","b"],"normalize":false,"truncate":true}'],
        "texts-similarity": [b'{"inputs":{"source_sentence":"a","sentences":["b","c"]}}'],
        "texts-rerank": [b'{"query":"q","texts":["a","b"],"return_text":true}'],
        "texts-predict": [b'{"inputs":[["a"],["b"]]}', b'{"inputs":"a"}'],
        "texts-decode": [b'{"ids":[[1,2],[3]],"skip_special_tokens":true}'],
        "feedback": [b'{"request_id":"0123456789abcdef0123456789abcdef","outcome":true}'],
    }


def _messages():
    from modelyard.protocols.open_inference_grpc.stubs import message as inference
    from modelyard.protocols.tensorflow_grpc.stubs import message as tensorflow

    infer = inference("ModelInferRequest")(model_name="demo", id="7")
    infer.inputs.add(name="mass", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1.5)
    infer.inputs.add(name="island", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"Dream")
    predict = tensorflow("PredictRequest")()
    predict.model_spec.name = "demo"
    mass, island = predict.inputs["mass"], predict.inputs["island"]
    mass.dtype, island.dtype = 1, 7
    mass.float_val.append(1.5)
    island.string_val.append(b"Dream")
    for tensor in (mass, island):
        tensor.tensor_shape.dim.add(size=1)
        tensor.tensor_shape.dim.add(size=1)
    classify = tensorflow("ClassificationRequest")()
    classify.model_spec.name = "demo"
    features = classify.input.example_list.examples.add().features.feature
    features["mass"].float_list.value.append(1.5)
    features["island"].bytes_list.value.append(b"Dream")
    yield [infer.SerializeToString(), predict.SerializeToString(), classify.SerializeToString()]
