import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.core.models import Model, Reference
from modelyard.registry.resolve import previous_number, resolve_number

MODEL = Model(id=1, workspace_id=1, name="m", latest=7, aliases={"champion": 3, "next": 7})


@pytest.mark.parametrize(("version", "number"), [("2", 2), ("99", 99), ("champion", 3), ("next", 7), ("latest", 7), ("", 3)])
def test_references_mean_numbers(version, number):
    assert resolve_number(MODEL, version) == number


def test_without_a_champion_the_newest_is_meant():
    assert resolve_number(Model(id=1, workspace_id=1, name="m", latest=7), "") == 7


def test_an_unknown_alias_names_the_nearest():
    with pytest.raises(NotFound, match="Did you mean 'champion'"):
        resolve_number(MODEL, "champoin")


def test_a_model_without_versions_says_so():
    with pytest.raises(NotFound, match="no version yet"):
        resolve_number(Model(id=1, workspace_id=1, name="m"), "latest")


@given(st.text(alphabet="abz09.-_@v/ \0é", max_size=70))
def test_whatever_parses_as_a_reference_prints_as_one(text):
    try:
        found = Reference.parse(text)
    except InvalidRequest:
        return
    again = Reference.parse(f"{found.name}@{found.version}" if found.version else found.name)
    assert again == found


@given(st.integers(0, 10**9))
def test_numbers_parse_with_and_without_v(number):
    assert Reference.parse(f"m@v{number}") == Reference.parse(f"m@{number}")
    assert Reference.parse(f"m@{number}").number == number


def moves(*numbers):
    """A history, newest first, from moves in their order."""
    return [(number, at) for at, number in enumerate(numbers)][::-1]


@pytest.mark.parametrize(
    ("numbers", "previous"),
    [
        ((1, 2), 1),
        ((1, 2, 3), 2),
        ((1, 2, 3, 2), 1),  # the last move was a rollback
        ((1, 2, 3, 2, 4), 2),
        ((1, 2, 0), 2),  # removed: back to where it was
        ((3, 1, 2), 1),
        ((1, 2, 1, 2), 1),
    ],
)
def test_an_alias_goes_back_step_by_step(numbers, previous):
    current = numbers[-1]
    assert previous_number(moves(*numbers), current, {1, 2, 3, 4}) == previous


@pytest.mark.parametrize("numbers", [(1,), (1, 2, 1), (1, 2, 3, 2, 1)])
def test_there_is_an_end_to_going_back(numbers):
    with pytest.raises(Conflict, match="no earlier version"):
        previous_number(moves(*numbers), numbers[-1], {1, 2, 3})


def test_deleted_versions_are_passed_over():
    assert previous_number(moves(1, 2, 3), 3, {1, 3}) == 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_rolling_back_always_ends(numbers):
    history, steps = moves(*numbers), 0
    while True:
        current = history[0][0]
        try:
            target = previous_number(history, current, {1, 2, 3, 4})
        except Conflict:
            break
        assert target != current
        history = [(target, 0), *history]
        steps += 1
        assert steps <= len(numbers)
