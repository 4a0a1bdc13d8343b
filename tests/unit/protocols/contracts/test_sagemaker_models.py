"""The multi-model contract of SageMaker, with a host that answers at once."""

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.access import Action
from modelyard.core.hosting import Came, Hosted, Told, Verb, Wish
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.sagemaker.models import create_protocol
from unit.protocols.fakes import GRANT, FakePlane, drive_exchange, make_exchange

GRANTED = GRANT.__class__(
    workspace_id=1, key_id=0, public_id="contract", actions=frozenset({Action.INFER, Action.DEPLOY}), deployments=frozenset({"demo"})
)
X = TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2))
PLANE = FakePlane(
    Signature(inputs=(X,), outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 2)),)),
    lambda given: {"y": given["x"] + np.float32(1)},
)
PLANE.accepting = True
HOSTED = {name: Hosted(name=name, url=f"/opt/{name}/model", deployment="demo") for name in ("a", "b b", "c/d")}


def ask(method, target, body=b"", told=None, wishes=None):
    """The answer, and what was wished."""

    def carried_out(wish):
        (wishes if wishes is not None else []).append(wish)
        return told or Told(came=Came.DONE)

    async def asked():
        exchange = make_exchange(method, target, body, {b"content-type": b"application/json"})
        answer = drive_exchange(create_protocol(lambda: HOSTED, carried_out), PLANE, exchange, GRANTED)
        while answer is None:
            await asyncio.sleep(0.001)
            answer = exchange.answer
        return answer

    return asyncio.run(asked())


def test_a_model_is_asked_for_by_name_and_place():
    wishes = []
    assert ask("POST", "/models", {"model_name": "new", "url": "/opt/new/model"}, wishes=wishes).status == 200
    assert ask("DELETE", "/models/c%2Fd", wishes=wishes).status == 200
    assert wishes == [Wish(verb=Verb.LOAD, name="new", url="/opt/new/model"), Wish(verb=Verb.UNLOAD, name="c/d")]


def test_what_is_loaded_is_not_asked_for_again():
    wishes = []
    assert ask("POST", "/models", {"model_name": "a", "url": "/elsewhere"}, wishes=wishes).status == 409
    assert wishes == []


@pytest.mark.parametrize(
    ("came", "status"), [(Came.THERE, 409), (Came.NO_ROOM, 507), (Came.REFUSED, 400), (Came.LATER, 503), (Came.NOT_THERE, 404)]
)
def test_what_came_of_a_wish_is_a_status_and_a_sentence(came, status):
    answer = ask("POST", "/models", {"model_name": "new", "url": "/opt"}, Told(came=came, message="Why."))
    assert (answer.status, answer.json["message"]) == (status, "Why.")


def test_models_are_listed_by_name_a_page_at_a_time():
    assert ask("GET", "/models").json == {"models": [{"modelName": n, "modelUrl": f"/opt/{n}/model"} for n in ("a", "b b", "c/d")]}
    page = ask("GET", "/models?limit=2").json
    assert page["nextPageToken"] == "b b"
    assert ask("GET", "/models?next_page_token=b%20b").json == {"models": [{"modelName": "c/d", "modelUrl": "/opt/c/d/model"}]}
    for limit in ("0", "x", "101", "1" * 40):
        assert ask("GET", f"/models?limit={limit}").status == 400


def test_one_model_is_shown_called_and_not_mistaken():
    assert ask("GET", "/models/b%20b").json == {"modelName": "b b", "modelUrl": "/opt/b b/model"}
    assert ask("POST", "/models/c%2Fd/invoke", {"instances": [[1, 2]]}).json == {"predictions": [[2.0, 3.0]]}
    for method, path in (("GET", "/models/x"), ("DELETE", "/models/x"), ("POST", "/models/x/invoke")):
        assert ask(method, path, {"instances": [[1, 2]]}).status == 404


@given(
    st.one_of(
        st.binary(),
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
            lambda document: json.dumps(document).encode()
        ),
        st.fixed_dictionaries({"model_name": st.text(max_size=3), "url": st.sampled_from(["", "x" * 2000, 5])}).map(
            lambda document: json.dumps(document).encode()
        ),
    )
)
def test_other_bodies_answer_400(body):
    wishes = []
    assert ask("POST", "/models", body, wishes=wishes).status in {400, 409}
    assert wishes == []
