"""The table of roles."""

from __future__ import annotations

from modelyard.core.access import ALL_ACTIONS, ROLE_ACTIONS, Action, Role, actions_of


def test_roles_may_what_the_table_says() -> None:
    assert {role.value: sorted(actions) for role, actions in ROLE_ACTIONS.items()} == {
        "owner": ["audit", "deploy", "develop", "infer", "keys", "manage", "read", "self"],
        "developer": ["deploy", "develop", "infer", "read", "self"],
        "consumer": ["infer", "self"],
        "auditor": ["audit", "self"],
    }


def test_no_role_reaches_the_platform_or_code_of_models() -> None:
    every = actions_of(Role)
    assert ALL_ACTIONS - every == {Action.ADMIN, Action.TRUST, Action.METRICS}


def test_roles_add_up_and_none_give_nothing() -> None:
    assert actions_of([Role.CONSUMER, Role.AUDITOR]) == {Action.INFER, Action.AUDIT, Action.SELF}
    assert actions_of([]) == frozenset()


def test_trust_is_for_those_who_develop() -> None:
    assert Action.TRUST in actions_of([Role.DEVELOPER], trust=True)
    assert actions_of([Role.CONSUMER], trust=True) == {Action.INFER, Action.SELF}
    assert actions_of([], trust=True) == frozenset()
