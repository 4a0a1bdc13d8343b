"""Makes the three ONNX models every peer serves, with random weights: mlp, cifar (LeNet), encoder (BERT-mini).

usage: python make_models.py OUT_DIR      (needs only numpy and onnx)
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
rng = np.random.default_rng(0)


class Graph:
    """A tiny builder: each call appends a node and gives its output's name."""

    def __init__(self):
        self.nodes, self.inits = [], []

    def const(self, array):
        name = f"c{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, *shape):
        fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
        return self.const((rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32))

    def op(self, kind, *inputs, out=None, **attrs):
        out = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attrs))
        return out

    def dense(self, x, n_in, n_out, out=None):
        """x[N, n_in] @ W + b as one Gemm."""
        return self.op("Gemm", x, self.weight(n_in, n_out), self.const(np.zeros(n_out, np.float32)), out=out)

    def linear(self, x, n_in, n_out):
        """The same on the last axis of any rank."""
        return self.op("Add", self.op("MatMul", x, self.weight(n_in, n_out)), self.const(np.zeros(n_out, np.float32)))

    def norm(self, x, n):
        return self.op("LayerNormalization", x, self.const(np.ones(n, np.float32)), self.const(np.zeros(n, np.float32)), axis=-1)

    def save(self, path, name, inp, out):
        graph = helper.make_graph(self.nodes, name, [inp], [out], self.inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, list(shape))


def mlp(path):
    g = Graph()
    h = g.op("Relu", g.dense("x", 16, 64))
    h = g.op("Relu", g.dense(h, 64, 32))
    g.op("Softmax", g.dense(h, 32, 3), out="y", axis=-1)
    g.save(path, "mlp", value("x", TensorProto.FLOAT, "N", 16), value("y", TensorProto.FLOAT, "N", 3))


def cifar(path):
    g = Graph()
    h = "x"
    for c_in, c_out in ((3, 6), (6, 16)):
        h = g.op("Relu", g.op("Conv", h, g.weight(c_out, c_in, 5, 5), g.const(np.zeros(c_out, np.float32)), kernel_shape=[5, 5]))
        h = g.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    h = g.op("Flatten", h, axis=1)
    h = g.op("Relu", g.dense(h, 400, 120))
    h = g.op("Relu", g.dense(h, 120, 84))
    g.dense(h, 84, 10, out="y")
    g.save(path, "cifar", value("x", TensorProto.FLOAT, "N", 3, 32, 32), value("y", TensorProto.FLOAT, "N", 10))


def encoder(path, layers=4, d=256, heads=4, vocab=30522, seq=64):
    g = Graph()
    split = g.const(np.array([0, 0, heads, d // heads], np.int64))
    merge = g.const(np.array([0, 0, d], np.int64))
    scale = g.const(np.array(1 / np.sqrt(d // heads), np.float32))
    h = g.op("Gather", g.const((rng.standard_normal((vocab, d)) * 0.02).astype(np.float32)), "x")
    h = g.norm(g.op("Add", h, g.const((rng.standard_normal((seq, d)) * 0.02).astype(np.float32))), d)
    for _ in range(layers):

        def head(perm, h=h):
            return g.op("Transpose", g.op("Reshape", g.linear(h, d, d), split), perm=perm)

        q, k, v = head([0, 2, 1, 3]), head([0, 2, 3, 1]), head([0, 2, 1, 3])
        a = g.op("Softmax", g.op("Mul", g.op("MatMul", q, k), scale), axis=-1)
        a = g.op("Reshape", g.op("Transpose", g.op("MatMul", a, v), perm=[0, 2, 1, 3]), merge)
        h = g.norm(g.op("Add", h, g.linear(a, d, d)), d)
        f = g.linear(g.op("Gelu", g.linear(h, d, 4 * d)), 4 * d, d)
        h = g.norm(g.op("Add", h, f), d)
    g.op("ReduceMean", h, g.const(np.array([1], np.int64)), out="y", keepdims=0)
    g.save(path, "encoder", value("x", TensorProto.INT64, "N", seq), value("y", TensorProto.FLOAT, "N", d))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for make in (mlp, cifar, encoder):
        make(out / f"{make.__name__}.onnx")
        print(make.__name__, (out / f"{make.__name__}.onnx").stat().st_size)
