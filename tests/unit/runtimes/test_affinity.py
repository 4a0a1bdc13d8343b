import os

import pytest

from modelyard.core.errors import Unsupported
from modelyard.runtimes.generative.affinity import several_cores


@pytest.fixture
def machine(monkeypatch):
    """One whose process may use some of its cores."""

    def _machine(kept, there):
        state = {"now": set(kept)}
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(state["now"]), raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", lambda _, wanted: state.update(now=set(wanted) & set(there)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: len(there))
        return state

    return _machine


def test_a_process_on_one_core_has_all_of_them_for_a_while(machine):
    state = machine({1}, {0, 1, 2})
    with several_cores():
        assert state["now"] == {0, 1, 2}
    assert state["now"] == {1}


def test_a_process_on_several_stays_where_it_is(machine):
    state = machine({1, 2}, {0, 1, 2})
    with several_cores():
        assert state["now"] == {1, 2}


def test_a_machine_with_one_core_is_told_so(machine):
    state = machine({0}, {0})
    with pytest.raises(Unsupported, match="kept to one core; give it two"), several_cores():
        pass
    assert state["now"] == {0}
