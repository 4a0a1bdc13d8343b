"""Passwords: how long wrong ones block, whoever exists; how many are looked at together; and what the audit log has of it."""

import threading

import msgspec
import pytest
from argon2 import PasswordHasher

from modelyard.core.errors import LimitExceeded, Unauthenticated, Unavailable
from modelyard.core.events import Actor
from modelyard.identity import attempts
from modelyard.identity.people import PeopleService

ADMIN = Actor(name="key:boss", workspace_id=1)
VISITOR = Actor(name="nobody", workspace_id=1, address="192.0.2.7", request_id="r-1")
PASSWORD = "correct horse battery"


class Hasher(PasswordHasher):
    """Quick, and can be held up while it looks at a password."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.looked, self.held, self.go = 0, threading.Event(), threading.Event()
        self.go.set()

    def verify(self, *asked):
        self.looked += 1
        self.held.set()
        assert self.go.wait(30)
        return super().verify(*asked)


@pytest.fixture
def hasher():
    return Hasher()


@pytest.fixture
def people(store, clock, hasher):
    made = PeopleService(store, clock, hasher)
    made.set_password(made.add(ADMIN, "ana").token, PASSWORD, VISITOR)
    return made


def tried(people, name, password="a wrong password"):
    """What is answered: an error's class and sentence, or nothing."""
    try:
        people.sign_in(name, password, VISITOR)
    except (Unauthenticated, LimitExceeded) as error:
        return type(error), error.message
    return None


@pytest.mark.parametrize("steps", [[0] * 9, [0, 0, 0, 0, 0, 0, 3, 0, 5, 9, 0], [1] * 12])
def test_a_name_that_nobody_has_is_answered_and_blocked_as_one_that_somebody_has(people, clock, steps):
    for seconds in steps:
        clock.advance(seconds)
        assert tried(people, "ana") == tried(people, "nobody")


def test_a_block_doubles_up_to_an_hour_and_ends_with_the_right_password(people, clock):
    assert [tried(people, "ana")[0] for _ in range(attempts.FREE_FAILURES)] == [Unauthenticated] * attempts.FREE_FAILURES
    waits = []
    for _ in range(15):
        assert tried(people, "ana")[0] is Unauthenticated
        kind, said = tried(people, "ana", PASSWORD)
        assert kind is LimitExceeded
        waits.append(int("".join(filter(str.isdigit, said))))
        clock.advance(waits[-1])
    assert waits[:4] == [2, 4, 8, 16]
    assert max(waits) == waits[-1] == attempts.LONGEST_BLOCK_S
    assert tried(people, "ana", PASSWORD) is None
    assert [tried(people, "ana")[0] for _ in range(5)] == [Unauthenticated] * 5


@pytest.mark.parametrize("name", ["ana", "nobody"])
def test_attempts_with_one_name_are_made_one_after_another(people, hasher, name):
    hasher.go.clear()
    hasher.held.clear()
    first = threading.Thread(target=tried, args=(people, name))
    first.start()
    assert hasher.held.wait(30)
    looked = hasher.looked
    for password in ("a wrong password", PASSWORD):
        assert tried(people, name, password)[1].startswith("Another attempt with this name is under way")
    assert hasher.looked == looked, "nothing was learned of either"
    hasher.go.set()
    first.join(30)
    assert tried(people, name)[0] is Unauthenticated


def test_no_more_passwords_are_hashed_at_once_than_memory_is_meant_for(people, hasher, monkeypatch):
    monkeypatch.setattr(attempts, "PATIENCE_S", 0.01)
    hasher.go.clear()
    threads = [threading.Thread(target=tried, args=(people, f"n{number}")) for number in range(attempts.AT_ONCE)]
    looked = hasher.looked
    for thread in threads:
        thread.start()
    while hasher.looked < looked + attempts.AT_ONCE:
        hasher.held.wait(0.01)
    with pytest.raises(Unavailable, match="Many people sign in"):
        people.sign_in("ana", PASSWORD, VISITOR)
    hasher.go.set()
    for thread in threads:
        thread.join(30)
    assert tried(people, "ana", PASSWORD) is None


def test_a_flood_of_attempts_leaves_threads_for_everybody_else(people, hasher, monkeypatch):
    monkeypatch.setattr(attempts, "PATIENCE_S", 60.0)
    hasher.go.clear()
    answers = []
    names = [f"n{number}" for number in range(attempts.AT_ONCE + attempts.WAITING)]
    threads = [threading.Thread(target=lambda name=name: answers.append(tried(people, name)[0])) for name in names]
    for thread in threads:
        thread.start()
    while people._attempts._room._value:  # until all of them hash or wait
        threads[0].join(0.01)
    with pytest.raises(Unavailable, match="Many people sign in"):
        people.sign_in("ana", PASSWORD, VISITOR)  # at once: the others wait for a minute
    assert answers == []
    hasher.go.set()
    for thread in threads:
        thread.join(60)
    assert answers == [Unauthenticated] * len(names)


def test_nothing_is_hashed_for_a_wrong_token(people, hasher, monkeypatch):
    monkeypatch.setattr(hasher, "hash", lambda _password: pytest.fail("it was"))
    with pytest.raises(Unauthenticated, match="one-time token"):
        people.set_password("made up", PASSWORD, VISITOR)


def test_names_that_nobody_has_are_forgotten_when_there_are_too_many(people, monkeypatch):
    monkeypatch.setattr(attempts, "MOST_UNKNOWN", 3)
    for _ in range(7):
        tried(people, "nobody")
    assert tried(people, "nobody")[0] is LimitExceeded
    for number in range(3):
        tried(people, f"n{number}")
    assert tried(people, "nobody")[0] is Unauthenticated


def test_the_audit_log_has_who_from_where_and_in_which_request(people, store):
    people.sign_in("ana", PASSWORD, msgspec.structs.replace(VISITOR, request_id="r-2"))
    with store.read() as session:
        found = session.audit.list(1)
    told = [(event.actor, event.action, event.address, event.request_id) for event in found]
    assert told == [
        ("person:ana", "person.sign-in", "192.0.2.7", "r-2"),
        ("person:ana", "person.password", "192.0.2.7", "r-1"),
        ("key:boss", "person.add", "", ""),
    ]
