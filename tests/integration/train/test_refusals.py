import pytest

from modelyard.core.errors import InvalidData, InvalidRequest, JobFailed, NotFound
from modelyard.train import pipeline
from modelyard.train.proof import Proof

GOOD = "n,w,y\n" + "".join(f"{at % 7 + at % 3},{'abc'[at % 3]},{'pq'[at % 2]}\n" for at in range(40))


@pytest.mark.parametrize(
    ("content", "recipe", "error", "message"),
    [
        (b"", {}, InvalidData, "is empty"),
        ("1,2\n3,4\n", {}, InvalidData, "looks like data"),
        (GOOD + "1,2\n", {}, InvalidData, "Line 42 of bad.csv has 2 cells"),
        (GOOD.replace("n,w,y", "n,n,y"), {}, InvalidData, "more than one column called 'n'"),
        (GOOD, {"target": "z"}, InvalidData, "no target 'z'"),
        (GOOD.replace("q", "p"), {}, InvalidData, "at least two classes"),
        (GOOD.encode(), {"reading": {"encoding": "utf-16"}}, InvalidData, "not utf-16"),
        (GOOD, {"families": ["forrest"]}, NotFound, "Did you mean 'forest'"),
        (GOOD, {"familys": ["forest"]}, InvalidRequest, "Did you mean 'families'"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_leaves_nothing(train, tmp_path, content, recipe, error, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message) as caught:
        train(path, **({"target": "y"} | recipe))
    assert "\n" not in caught.value.message


def test_a_family_whose_graph_disagrees_is_refused_and_the_next_one_taken(train, monkeypatch):
    real = pipeline.prove
    seen = []

    def prove(graph, model, problem):
        proof = real(graph, model, problem)
        seen.append(proof)
        return Proof(False, "only 12.00% of the labels agree", proof.report) if len(seen) == 1 else proof

    monkeypatch.setattr(pipeline, "prove", prove)
    board = train(target="species", families=["logistic", "tree"], budget={"trials": 1}).result["report"]["leaderboard"]
    assert [row["status"] for row in board] == ["refused", "selected"]
    assert "only 12.00% of the labels agree" in board[0]["note"]


def test_a_family_that_cannot_become_a_graph_is_refused(train, monkeypatch):
    def build(*_):
        raise RuntimeError("no such operator\nin line 3")

    monkeypatch.setattr(pipeline, "build_graph", build)
    with pytest.raises(JobFailed, match="logistic: it cannot become a graph: RuntimeError: no such operator"):
        train(target="species", families=["logistic"], budget={"trials": 1})
