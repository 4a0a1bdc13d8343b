import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.access import Action
from modelyard.core.usage import ProtocolId
from modelyard.protocols.routing import Protocol, Route, RouteTable


def route(pattern, method="GET"):
    return Route(method, pattern, Action.INFER, lambda call: None, names_deployment="{name}" in pattern)


def protocol(name, *routes):
    return Protocol(name, ProtocolId.OTHER, tuple(routes), lambda error: (500, (), b""))


TABLE = RouteTable(
    [
        protocol("a", route("/v2"), route("/v2/models/stats"), route("/v2/models/{name}"), route("/v2/models/{name}/infer", "POST")),
        protocol("b", route("/v1/models/{name}"), route("/v1/models/{name}:predict", "POST"), route("/v1/models/{name}/labels/{label}")),
    ]
)


def find(method, path):
    found, matched, params, allowed = TABLE.find(method, path)
    return found.name, matched.pattern if matched else None, params, allowed


@pytest.mark.parametrize(
    ("method", "path", "pattern", "params"),
    [
        ("GET", "/v2", "/v2", {}),
        ("HEAD", "/v2", "/v2", {}),
        ("GET", "/v2/models/stats", "/v2/models/stats", {}),
        ("GET", "/v2/models/a", "/v2/models/{name}", {"name": "a"}),
        ("POST", "/v2/models/stats/infer", "/v2/models/{name}/infer", {"name": "stats"}),
        ("POST", "/v1/models/a:predict", "/v1/models/{name}:predict", {"name": "a"}),
        ("GET", "/v1/models/a:other", "/v1/models/{name}", {"name": "a:other"}),
        ("GET", "/v1/models/a%2Fb/labels/c", "/v1/models/{name}/labels/{label}", {"name": "a/b", "label": "c"}),
    ],
)
def test_known_paths_are_found(method, path, pattern, params):
    assert find(method, path)[1:3] == (pattern, params)


@pytest.mark.parametrize("path", ["/", "", "/v3", "/v2/", "/v2/models/", "/v2/models//infer", "/v2/models/a/infer/", "/v1/models/:p/x"])
def test_unknown_paths_are_not(path):
    assert find("GET", path)[1:] == (None, {}, ())


def test_a_known_path_says_its_methods():
    assert find("DELETE", "/v2/models/a/infer") == ("a", None, {}, ("POST",))
    assert find("HEAD", "/v2/models/a/infer")[3] == ("POST",)


def test_the_nearest_protocol_speaks_for_unknown_paths():
    assert find("GET", "/v1/nothing")[0] == "b"
    assert find("GET", "/v2/models/a/b/c")[0] == "a"
    assert find("GET", "/nothing")[0] == "a"


def test_two_protocols_must_not_claim_one_path():
    with pytest.raises(ValueError, match="already a route of a"):
        RouteTable([protocol("a", route("/x/{name}")), protocol("b", route("/x/{name}"))])


def test_a_route_says_whether_it_names_a_deployment():
    with pytest.raises(ValueError, match="names_deployment"):
        RouteTable([protocol("a", Route("GET", "/x/{name}", Action.INFER, lambda call: None))])


@given(st.text(max_size=60), st.sampled_from(["GET", "POST", "HEAD", "X"]))
def test_random_paths_are_harmless(path, method):
    TABLE.find(method, "/" + path)


SEGMENTS = st.sampled_from(["v1", "v2", "models", "stats", "infer", "labels", "a", "a%2Fb", "a:predict", "a%2F:x", ":predict", "", "ü"])


@given(st.lists(SEGMENTS, max_size=6).map(lambda segments: "/" + "/".join(segments)), st.sampled_from(["GET", "POST", "HEAD"]))
def test_the_short_way_finds_what_the_search_finds(path, method):
    assert TABLE.find(method, path) == TABLE._search(method, path)
