"""Writes TensorFlow SavedModels, in a process of its own: ``python saved_model.py FOLDER``. What they answer lies beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


class Averages(tf.Module):
    """Rows are sequences of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 4], tf.float32, name="steps"), tf.TensorSpec([None, 2], tf.float32, name="shift")]
    )
    def __call__(self, steps, shift):
        return {"share": tf.nn.softmax(tf.reduce_mean(steps, axis=1) @ self.weights + shift)}


class Words(tf.Module):
    """Counts words, which ONNX has no operation for."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text):
        return {"words": tf.strings.split(text).row_lengths()}


def main(folder: Path) -> None:
    random = np.random.default_rng(1)
    rows = {"steps": random.normal(size=(6, 11, 4)).astype(np.float32), "shift": random.normal(size=(6, 2)).astype(np.float32)}
    averages, words = Averages(), Words()
    tf.saved_model.save(averages, str(folder / "averages"), signatures=averages.__call__)
    tf.saved_model.save(words, str(folder / "words"), signatures=words.__call__)
    answer = averages(**{name: tf.constant(array) for name, array in rows.items()})["share"].numpy()
    np.savez(folder / "averages.npz", share=answer, **rows)


main(Path(sys.argv[1]))
