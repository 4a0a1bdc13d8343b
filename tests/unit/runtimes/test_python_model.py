import textwrap

import numpy as np
import pytest

from modelyard.core.errors import Internal, InvalidArtifact, InvalidRequest, InvalidTensor
from modelyard.core.generation import FinishReason, GenerateRequest, Sampling, TokenChunk
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.python_model import RUNTIME
from modelyard.testing.generation_contract import Generation


def load(folder, code, **files):
    (folder / "model.py").write_text(textwrap.dedent(code))
    for name, text in files.items():
        (folder / name).write_text(text)
    return RUNTIME.load(folder, "model.py", LoadOptions())


def test_rows_are_given_one_by_one_as_python_values(tmp_path):
    model = load(
        tmp_path,
        """
        class Model:
            def setup(self, folder):
                self.factor = float((folder / "factor.txt").read_text())

            def predict(self, age: float, city: str) -> float:
                assert type(age) is float and type(city) is str
                return age * self.factor + len(city)
        """,
        **{"factor.txt": "2"},
    )
    outputs = model.infer({"age": np.array([1.0, 2.5]), "city": np.array([b"ab", "\u00e9"], object)})
    assert outputs["output"].tolist() == [4.0, 6.0]
    assert not model.joins


@pytest.mark.parametrize("given", ["self.kept", "{'output': self.kept}", "self.kept[:]"])
def test_what_a_call_gave_is_its_own_although_the_class_writes_to_it_again(tmp_path, given):
    model = load(
        tmp_path,
        f"""
        import numpy as np

        class Model:
            signature = {{"inputs": {{"x": "FP64"}}, "outputs": {{"output": "FP64"}}}}
            kept = np.zeros(2)
            def predict_batch(self, x):
                self.kept[:] = x
                return {given}
        """,
    )
    first = model.infer({"x": np.array([1.0, 2.0])})
    model.infer({"x": np.array([3.0, 4.0])})
    assert first["output"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("kind", "answer", "said"), [("FP32", "1", [1.0]), ("INT64", "True", [1]), ("BOOL", "False", [False])])
def test_pythons_own_values_become_what_is_declared(tmp_path, kind, answer, said):
    model = load(
        tmp_path,
        f"""
        class Model:
            signature = {{"inputs": {{"x": "FP64"}}, "outputs": {{"output": "{kind}"}}}}
            def predict(self, x):
                return {answer}
        """,
    )
    found = model.infer({"x": np.array([1.0])})["output"]
    assert found.tolist() == said
    assert found.dtype == model.signature.outputs[0].datatype.name.replace("FP", "float").replace("INT", "int").replace("BOOL", "bool")


def test_a_fraction_is_no_whole_number(tmp_path):
    code = """
        class Model:
            def predict(self, x: float) -> int:
                return x
        """
    with pytest.raises(Internal):
        load(tmp_path, code).infer({"x": np.array([1.5])})


def test_predict_batch_gets_whole_arrays_and_may_write_to_them(tmp_path):
    model = load(
        tmp_path,
        """
        from typing import Annotated
        import numpy as np

        class Other:
            concurrency = 3
            repeatable = False
            def predict(self, x: Annotated[np.ndarray, "FP32[2]"]) -> Annotated[np.ndarray, "FP32[2]"]:
                raise RuntimeError("not used")
            def predict_batch(self, x):
                x += 1
                return x
        """,
    )
    x = np.zeros((3, 2), np.float32)
    assert model.infer({"x": x})["output"].tolist() == [[1, 1]] * 3
    assert not x.any()
    assert (model.joins, model.concurrency, model.repeatable) == (True, 3, False)


def test_several_outputs_by_name(tmp_path):
    model = load(
        tmp_path,
        """
        class Model:
            signature = {"inputs": {"x": "INT64"}, "outputs": {"half": "FP64", "word": "BYTES"}}
            def predict(self, x):
                return {"half": x / 2, "word": str(x)}
        """,
    )
    outputs = model.infer({"x": np.array([1, 2])})
    assert (outputs["half"].tolist(), outputs["word"].tolist()) == ([0.5, 1.0], ["1", "2"])


@pytest.mark.parametrize(
    ("body", "logged"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ("return None", "it gave nothing for its output 'output'"),
        ("return 'text'", "TypeError"),
        ("return [1.0, 2.0]", "has shape"),
    ],
)
def test_what_goes_wrong_inside_is_logged_and_not_told(tmp_path, caplog, body, logged):
    model = load(tmp_path, f"class Model:\n    def predict(self, x: float) -> float:\n        {body}\n")
    with pytest.raises(Internal, match="its deployment's log has the reason") as caught:
        model.infer({"x": np.array([1.0])})
    assert "Zero" not in caught.value.message
    assert logged in caplog.text or logged in str(caplog.records[0].exc_info)


def test_a_model_may_tell_its_callers_something(tmp_path):
    model = load(
        tmp_path,
        """
        from modelyard.core.errors import InvalidTensor
        class Model:
            def predict(self, x: float) -> float:
                raise InvalidTensor("x must be positive.")
        """,
    )
    with pytest.raises(InvalidTensor, match="x must be positive"):
        model.infer({"x": np.array([1.0])})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import not_there_at_all\n", "imports 'not_there_at_all', which is not installed; name its package in a requirements.txt"),
        ("x = 1\ny = undefined\n", "NameError: name 'undefined' is not defined, line 2"),
        ("def f(:\n", "SyntaxError: .*, line 1"),
        ("x = 1\n", "has no class with a method predict"),
        ("class A:\n    def predict(self): ...\nclass B(A): ...\n", "several classes with predict \\(A, B\\)"),
        (
            "class A:\n    def setup(self):\n        raise ValueError('no weights')\n    def predict(self, x: float) -> float: ...\n",
            "no weights, line 3",
        ),
    ],
)
def test_what_cannot_be_loaded_says_where_and_why(tmp_path, code, said):
    with pytest.raises(InvalidArtifact, match=said) as caught:
        load(tmp_path, code)
    assert str(tmp_path) not in caught.value.message


STREAMER = """
class Model:
    def stream(self, prompt: str, max_tokens=None, temperature=1.0):
        for word in prompt.split():
            yield word + " "
"""


def test_a_stream_gives_its_pieces_and_says_how_it_ended(tmp_path):
    model = load(tmp_path, STREAMER)
    chunks = Generation(model, GenerateRequest(prompt="a b c")).rest()
    assert ("".join(chunk.text for chunk in chunks), chunks[-1].finish, chunks[-1].usage.tokens_out) == ("a b c ", FinishReason.STOP, 3)
    short = Generation(model, GenerateRequest(prompt="a b c", sampling=Sampling(max_tokens=2))).rest()
    assert (len(short), short[-1].finish) == (3, FinishReason.LENGTH)
    assert model.infer({"text_input": np.array(["x y"], object)})["text_output"].tolist() == ["x y "]
    with pytest.raises(InvalidRequest, match="takes a prompt, not messages"):
        Generation(model, GenerateRequest(messages=({"role": "user", "content": "hi"},))).rest()
    model.close()


def test_a_stream_that_nobody_wants_any_more_ends(tmp_path):
    model = load(
        tmp_path,
        """
        import itertools, time
        class Model:
            def stream(self, messages):
                for number in itertools.count():
                    time.sleep(0.001)
                    yield str(number)
        """,
    )
    generation = Generation(model, GenerateRequest(messages=({"role": "user", "content": "hi"},)))
    assert isinstance(generation.next(), TokenChunk)
    generation.cancel()
    assert generation.rest()[-1].finish is FinishReason.CANCELLED
    model.close()


def test_a_stream_that_fails_tells_no_more_than_that(tmp_path, caplog):
    model = load(
        tmp_path,
        """
        class Model:
            def stream(self, prompt):
                yield "one"
                raise ValueError("secret")
        """,
    )
    generation = Generation(model, GenerateRequest(prompt="x"))
    assert generation.next().text == "one"
    with pytest.raises(Internal) as caught:
        generation.next()
    assert "secret" not in caught.value.message
    assert "secret" in caplog.text
    model.close()


def test_functions_of_a_module_are_a_model_as_well(tmp_path):
    model = load(
        tmp_path,
        """
        import math
        from os.path import join  # not the module's own

        table = {}
        concurrency = 3
        signature = {"inputs": {"x": "FP32"}, "outputs": {"y": "FP32"}}

        def setup(folder):
            table["factor"] = 2.0

        def predict(x):
            return _scaled(x)

        def _scaled(x):
            return x * table["factor"] + math.pi * 0
        """,
    )
    outputs = model.infer({"x": np.array([1.0, 2.5], np.float32)})
    assert (outputs["y"].tolist(), outputs["y"].dtype, model.concurrency) == ([2.0, 5.0], np.float32, 3)


def test_the_only_public_function_is_the_one_that_predicts(tmp_path):
    model = load(tmp_path, "def clean(text: str) -> str:\n    return text.strip().lower()\n")
    assert model.infer({"text": np.array([b" A ", "b"], object)})["output"].tolist() == ["a", "b"]
    with pytest.raises(InvalidArtifact, match="write one called Model, or a function predict"):
        load(tmp_path, "def one(x: float) -> float:\n    return x\n\ndef two(x: float) -> float:\n    return x\n")
    with pytest.raises(InvalidArtifact, match="The setup of Model failed: RuntimeError: no, line 2"):
        load(tmp_path, "def setup():\n    raise RuntimeError('no')\n\ndef predict(x: float) -> float:\n    return x\n")
