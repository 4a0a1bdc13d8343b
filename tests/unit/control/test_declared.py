"""Plans, computed from a document and a state alone."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.control.declared import State, plan
from modelyard.control.document import Document
from modelyard.core.access import Action, Key
from modelyard.core.deployments import Target
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.models import Artifact, ArtifactFile, Model, Profile, Version
from modelyard.core.signature import Signature
from modelyard.registry.artifacts import artifact_digest

DIGEST = "a" * 64
FILE = ArtifactFile(path="m.onnx", digest=DIGEST, size=3)
MODEL = Model(id=1, workspace_id=1, name="m", latest=1, aliases={"champion": 1})
VERSION = Version(
    id=1,
    workspace_id=1,
    model_id=1,
    model="m",
    number=1,
    artifact=Artifact(format="onnx", digest=artifact_digest([FILE]), files=(FILE,), entry="m.onnx"),
    signature=Signature(inputs=(), outputs=()),
    profile=Profile(),
)
KEY = Key(id=1, workspace_id=1, public_id="k1", digest="d", label="shop", deployments=("m",))
STATE = State(
    models={"m": MODEL},
    versions={"m": [VERSION]},
    deployments={"m": ((Target(model="m", version="champion"),), {})},
    keys={"shop": KEY},
    sizes={DIGEST: 3, "b" * 64: 4},
)


def lines(document: dict[str, Any], state: State = STATE, *, prune: bool = False) -> list[str]:
    steps = plan(Document.model_validate(document), state, prune=prune)
    assert all((step.command is None) == (step.change.change == "unchanged") for step in steps)
    return [f"{step.change.change} {step.change.kind} {step.change.name}" for step in steps]


def test_what_is_as_it_shall_be_is_unchanged() -> None:
    document = {
        "models": {"m": {"versions": [{"files": [{"path": "m.onnx", "digest": DIGEST}]}], "aliases": {"champion": 1}}},
        "deployments": {"m": "m@champion"},
        "keys": {"shop": {"deployments": ["m"]}},
    }
    assert all(line.startswith("unchanged") for line in lines(document))


def test_a_bare_model_means_its_champion() -> None:
    assert lines({"deployments": {"m": "m"}}) == ["unchanged deployment m"]


def test_latest_is_fixed_to_the_version_that_will_be_the_newest() -> None:
    document = {
        "models": {"m": {"versions": [{"files": [{"path": "m.onnx", "digest": "b" * 64}]}]}},
        "deployments": {"m": "m@latest"},
    }
    steps = plan(Document.model_validate(document), STATE)
    assert [step.change.name for step in steps] == ["m", "m@2", "m"]
    assert steps[-1].change.detail == "m@2 100"


def test_the_same_files_with_other_metrics_are_another_version() -> None:
    files = [{"path": "m.onnx", "digest": DIGEST}]
    assert "create version m@2" in lines({"models": {"m": {"versions": [{"files": files, "metrics": {"a": 1.0}}]}}})


def test_sections_that_are_left_out_are_left_alone_even_when_pruning() -> None:
    assert lines({}, prune=True) == []
    assert lines({"deployments": {}}, prune=True) == ["delete deployment m"]
    assert lines({"keys": {}}, prune=True) == ["delete key shop"]
    assert lines({"models": {"m": {}}}, prune=True) == ["unchanged model m", "delete alias m@champion"]


@pytest.mark.parametrize(
    "key", [Key(**{**_, "actions": (Action.ADMIN,)}) for _ in [{"id": 1, "workspace_id": 1, "public_id": "k", "digest": "d"}]]
)
def test_pruning_never_takes_an_administrators_key_nor_the_callers_own(key: Key) -> None:
    assert lines({"keys": {}}, State(keys={"root": key}), prune=True) == []
    assert lines({"keys": {}}, State(keys={"shop": KEY}, caller_key="k1"), prune=True) == []


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ({"deployments": {"d": "n@1"}}, NotFound, "'n'"),
        ({"deployments": {"d": "m@champoin"}}, NotFound, "Did you mean 'champion'"),
        ({"models": {"m": {"aliases": {"best": 7}}}}, NotFound, "'7'"),
        ({"models": {"m": {"aliases": {"latest": 1}}}}, InvalidRequest, "alias"),
        ({"models": {"Bad Name": {}}}, InvalidRequest, "Bad Name"),
        ({"models": {"m": {"versions": [{"files": [{"path": "m.onnx", "digest": "c" * 64}]}]}}}, InvalidRequest, "upload it first"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(document: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lines(document)


def test_lists_of_named_entries_say_the_same_as_mappings() -> None:
    document = {
        "models": [{"name": "m", "aliases": {"champion": 1}}],
        "deployments": [{"name": "m", "targets": [{"model": "m", "version": "champion"}]}],
        "keys": [{"label": "shop", "deployments": ["m"]}],
    }
    assert all(line.startswith("unchanged") for line in lines(document))
    for wrong in ({"models": [{}]}, {"keys": ["shop"]}, {"models": [{"name": "m"}, {"name": "m"}]}, {"models": "m"}):
        with pytest.raises(ValidationError):
            Document.model_validate(wrong)
