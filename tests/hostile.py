"""A corpus of artifacts that mean harm, each made here. Whatever of them ran would create the file ``canary``."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from onnx import TensorProto, helper

Files = dict[str, bytes]


class Hostile(NamedTuple):
    """One artifact: its files for a canary, and a part of the sentence that refuses it."""

    files: Callable[[str], Files]
    sentence: str
    said: Mapping[str, object] = {}


class _Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(canary: str) -> str:
    return f"touch {canary}"


def asks(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls ``module.name`` of texts, whether it exists here or not."""
    return (
        b"\x80\x04" + _text(module) + _text(name) + b"\x93(" + b"".join(_text(argument) for argument in arguments) + b"tR."
    )  # STACK_GLOBAL, MARK, TUPLE, REDUCE


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(name: str, kind: bytes, link: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        good = tarfile.TarInfo("model.txt")
        archive.addfile(good)
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.devmajor, info.devminor = kind, link, 1, 3
        archive.addfile(info)
    return stream.getvalue()


def keras(layer: Mapping[str, object]) -> Files:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": "Sequential"}
    members = {"config.json": json.dumps(config).encode(), "metadata.json": b"{}", "model.weights.h5": b"\x89HDF"}
    return {"model.keras": zipped(members)}


def onnx_graph(tensor: TensorProto, nodes=None) -> bytes:
    graph = helper.make_graph(
        nodes or [helper.make_node("Add", ["x", tensor.name], ["y"])],
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def external(location: str) -> Files:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return {"model.onnx": onnx_graph(tensor)}


def oversized(dims: list[int]) -> Files:
    return {"model.onnx": onnx_graph(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 8))}


def cyclic() -> Files:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Add", ["a", "w"], ["b"]),
        helper.make_node("Identity", ["b"], ["y"]),
    ]
    return {"model.onnx": onnx_graph(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], raw_data=b"\0" * 8), nodes)}


def greedy() -> Files:
    shape = TensorProto(name="w", data_type=TensorProto.INT64, dims=[2], raw_data=struct.pack("<qq", 1 << 20, 1 << 24))
    nodes = [
        helper.make_node("ConstantOfShape", ["w"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["s"]),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    return {"model.onnx": onnx_graph(shape, nodes)}


def safetensors(head: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head


MODULE = b"""import torch


class M(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.l(x)
"""
TORCH = {"signature": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}


def module(weights: bytes) -> Callable[[str], Files]:
    return lambda _: {"m.py": MODULE, "m.safetensors": weights}


def running_module(canary: str) -> Files:
    code = f"import os\nos.system({touch(canary)!r})\nopen({canary!r}, 'w')\n"
    return {"m.py": code.encode(), "m.safetensors": safetensors(b"{}")}


def hugging_face(canary: str) -> Files:
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8}
    weights = zipped({"archive/data.pkl": asks("posix", "system", touch(canary)), "archive/version": b"3"})
    return {"config.json": json.dumps(config).encode(), "tokenizer.json": b"{}", "pytorch_model.bin": weights}


def own_code(canary: str) -> Files:
    config = {"model_type": "own", "architectures": ["Own"], "auto_map": {"AutoModel": "own.Own"}}
    code = f"import os\nos.system({touch(canary)!r})\n".encode()
    return {"config.json": json.dumps(config).encode(), "own.py": code, "tokenizer.json": b"{}", "model.safetensors": safetensors(b"{}")}


def mlflow(document: object) -> Files:
    return {"MLmodel": yaml.safe_dump(document).encode(), "model.pkl": b"\x80\x04N."}


def laughing() -> Files:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 9)]
    return {
        "MLmodel": ("\n".join(lines) + "\nflavors: {sklearn: {pickled_model: model.pkl}}\nsignature: *a8\n").encode(),
        "model.pkl": b"\x80\x04N.",
    }


def archive_with_handler(canary: str) -> Files:
    manifest = {"model": {"serializedFile": "model.pkl", "handler": "handler.py", "modelName": "m"}}
    code = f"import os\nos.system({touch(canary)!r})\n".encode()
    members = {"MAR-INF/MANIFEST.json": json.dumps(manifest).encode(), "handler.py": code, "model.pkl": asks("os", "system", touch(canary))}
    return {"model.mar": zipped(members)}


def script_with_gadget(canary: str) -> Files:
    members = {
        "m/code/__torch__.py": b"",
        "m/data.pkl": asks("builtins", "eval", f"__import__('os').system({touch(canary)!r})"),
        "m/version": b"3",
    }
    return {"model.pt": zipped(members)}


def bomb() -> bytes:
    return zipped({f"part-{at}": b"\0" * (48 << 20) for at in range(2)}, zipfile.ZIP_DEFLATED)


def truncated_pickle() -> bytes:
    return pickle.dumps({"coef": np.arange(1000.0)})[:300]


CALLS: Mapping[str, Callable[[str], bytes]] = {
    "os.system": lambda canary: asks("os", "system", touch(canary)),
    "posix.system": lambda canary: asks("posix", "system", touch(canary)),
    "subprocess": lambda canary: asks("subprocess", "getoutput", touch(canary)),
    "eval": lambda canary: asks("builtins", "eval", f"open({canary!r}, 'w')"),
    "getattr": lambda canary: asks("builtins", "getattr", canary, "x"),
    "import": lambda canary: asks("importlib", "import_module", "antigravity"),
    "runpy": lambda canary: asks("runpy", "run_path", canary),
    "numpy's own eval": lambda canary: asks("numpy.f2py.crackfortran", "getlincoef", f"open({canary!r}, 'w')"),
    "numpy's test runner": lambda canary: asks("numpy.testing._private.utils", "runstring", f"open({canary!r}, 'w')"),
    "numpy reads a file": lambda canary: asks("numpy", "genfromtxt", canary),
    "torch's command": lambda canary: asks("torch.utils.collect_env", "run", touch(canary)),
    "torch.load in a pickle": lambda canary: asks("torch", "load", canary),
    "joblib.load in a pickle": lambda canary: asks("joblib", "load", canary),
    "pandas.read_pickle": lambda canary: asks("pandas", "read_pickle", canary),
    "torch.hub": lambda canary: asks("torch.hub", "load", "someone/something"),
    "a name with a line break": lambda canary: asks("os\nsystem", "x", touch(canary)),
}

CORPUS: Mapping[str, Hostile] = {
    **{
        f"pickle: {name}": Hostile(lambda canary, make=make: {"model.pkl": make(canary)}, "it is not opened")
        for name, make in CALLS.items()
    },
    "pickle: compressed": Hostile(lambda canary: {"model.joblib": gzip.compress(asks("os", "system", touch(canary)))}, "it is not opened"),
    "pickle: by a class of its own": Hostile(
        lambda canary: {"model.pkl": pickle.dumps(_Calls(__import__("os").system, touch(canary)))}, "it is not opened"
    ),
    "pickle: cut off": Hostile(lambda _: {"model.pkl": truncated_pickle()}, "damaged"),
    "pickle: nested without end": Hostile(lambda _: {"model.pkl": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."}, ""),
    "torch.save of a gadget": Hostile(
        lambda canary: {"model.pt": zipped({"archive/data.pkl": asks("os", "system", touch(canary))})}, "torch.save"
    ),
    "TorchScript with a gadget": Hostile(script_with_gadget, "it is not opened"),
    "a module that runs a program": Hostile(running_module, "", TORCH),
    "Hugging Face weights that are a gadget": Hostile(hugging_face, "it is not opened"),
    "Hugging Face folder with code": Hostile(own_code, "auto_map"),
    "Keras: Lambda": Hostile(
        lambda _: keras({"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}),
        "Keras' own",
    ),
    "Keras: a class of os": Hostile(lambda _: keras({"module": "os", "class_name": "system", "config": {}}), "Keras' own"),
    "Keras: a function that fetches": Hostile(
        lambda _: keras({"module": "keras.utils", "class_name": "get_file", "config": {}}), "no part of a model"
    ),
    "Keras: registered by its maker": Hostile(
        lambda _: keras({"module": "keras.layers", "class_name": "Dense", "registered_name": "own>Dense", "config": {}}), "Keras' own"
    ),
    "ONNX: absolute external data": Hostile(lambda _: external("/etc/passwd"), "leaves the model's folder"),
    "ONNX: external data above": Hostile(lambda _: external("../../secret.bin"), "leaves the model's folder"),
    "ONNX: external data that is not there": Hostile(lambda _: external("w.bin"), "not uploaded"),
    "ONNX: tensor of a terabyte": Hostile(lambda _: oversized([1 << 20, 1 << 18]), ""),
    "ONNX: tensor of a negative size": Hostile(lambda _: oversized([-4, 2]), ""),
    "ONNX: cycle": Hostile(lambda _: cyclic(), ""),
    "ONNX: computes a table of terabytes": Hostile(lambda _: greedy(), ""),
    "ONNX: cut off": Hostile(lambda _: {"model.onnx": oversized([2])["model.onnx"][:60]}, ""),
    "archive: bomb": Hostile(lambda _: {"model.zip": bomb()}, "times its size"),
    "archive: above the target": Hostile(lambda _: {"m.zip": zipped({"../../up.onnx": b"x"})}, ""),
    "archive: absolute path": Hostile(lambda _: {"m.zip": zipped({"/etc/cron.d/x": b"x"})}, ""),
    "archive: link": Hostile(lambda _: {"m.tar.gz": tarred("link.onnx", tarfile.SYMTYPE, "/etc/passwd")}, "is a link"),
    "archive: hard link": Hostile(lambda _: {"m.tar.gz": tarred("link.onnx", tarfile.LNKTYPE, "../../x")}, "is a link"),
    "archive: device": Hostile(lambda _: {"m.tar.gz": tarred("null", tarfile.CHRTYPE)}, "is a link"),
    "archive: pipe": Hostile(lambda _: {"m.tar.gz": tarred("pipe", tarfile.FIFOTYPE)}, "is a link"),
    "safetensors: head of exabytes": Hostile(module(safetensors(b"{}", 1 << 60)), "", TORCH),
    "safetensors: cut off": Hostile(
        module(safetensors(json.dumps({"l.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode())), "", TORCH
    ),
    "safetensors: offsets beyond the end": Hostile(
        module(safetensors(json.dumps({"l.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode())),
        "",
        TORCH,
    ),
    "MLflow: model outside its folder": Hostile(
        lambda _: mlflow({"flavors": {"sklearn": {"pickled_model": "../../etc/passwd"}}}), "not among"
    ),
    "MLflow: model at an absolute path": Hostile(lambda _: mlflow({"flavors": {"onnx": {"data": "/etc/passwd"}}}), "not among"),
    "MLflow: references that multiply": Hostile(lambda _: laughing(), "too many"),
    "MLServer: model outside": Hostile(
        lambda _: {"model-settings.json": json.dumps({"parameters": {"uri": "../../../etc/passwd"}}).encode(), "a.txt": b"x"}, "not among"
    ),
    "TorchServe: handler and gadget": Hostile(archive_with_handler, "it is not opened"),
}


def plant(canary: Path, name: str) -> Files:
    """The files of one artifact."""
    return CORPUS[name].files(str(canary))
