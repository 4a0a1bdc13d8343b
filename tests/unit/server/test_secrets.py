"""What a home seals, and what nodes open of each other's."""

import pytest

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.runtimes.remote_settings import sealing_context
from modelyard.server.wiring.secrets import SHARED_FILE, home_secret, sealer, unsealing

DIGITS = "5a" * 32


@pytest.fixture
def homes(tmp_path):
    found = tmp_path / "one", tmp_path / "two"
    for home in found:
        home.mkdir()
    return found


def test_a_home_opens_what_it_sealed_and_another_does_not(homes):
    one, two = homes
    sealed = sealer(one).seal("key", "here")
    assert sealer(one).open(sealed, "here") == "key"
    with pytest.raises(InvalidRequest, match="another home"):
        sealer(two).open(sealed, "here")
    with pytest.raises(InvalidRequest):
        sealer(one, "vault").open(sealed, "here")


def test_nodes_that_share_a_secret_open_each_others_and_their_own_of_before(homes):
    one, two = homes
    before = sealer(one).seal("old", "here")
    for home in homes:
        (home / SHARED_FILE).write_text(DIGITS + "\n")
    assert sealer(two).open(sealer(one).seal("key", "here"), "here") == "key"
    assert sealer(one).open(before, "here") == "old"
    with pytest.raises(InvalidRequest, match="another home"):
        sealer(two).open(before, "here")
    assert home_secret(one, "node") != home_secret(two, "node")


def test_a_replica_opens_with_the_shared_secret_too(homes):
    one, two = homes
    for home in homes:
        (home / SHARED_FILE).write_text(DIGITS)
    sealed = sealer(one).seal("key", sealing_context(7, "https://models.example"))
    assert unsealing(str(two), 7)(sealed, "https://models.example") == "key"


@pytest.mark.parametrize("text", ["", "5a", "no digits", DIGITS + "5a"])
def test_a_shared_secret_that_is_none_is_told(homes, text):
    (homes[0] / SHARED_FILE).write_text(text)
    with pytest.raises(Conflict, match="64 hexadecimal digits"):
        sealer(homes[0])
