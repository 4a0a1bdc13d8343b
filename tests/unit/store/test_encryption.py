import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.store.encryption import Sealer

SEALER = Sealer(bytes(range(32)))


@given(st.text(max_size=200), st.text(max_size=50))
def test_what_is_sealed_opens_in_its_context(secret, context):
    sealed = SEALER.seal(secret, context)
    assert SEALER.open(sealed, context) == secret
    assert sealed.isascii()
    assert sealed != SEALER.seal(secret, context)


def test_it_opens_nowhere_else():
    sealed = SEALER.seal("secret", "here")
    flipped = sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:]
    for text, context, sealer in (
        (sealed, "there", SEALER),
        (sealed, "here", Sealer(bytes(32))),
        (flipped, "here", SEALER),
        (sealed[:-6], "here", SEALER),
        ("", "here", SEALER),
        ("sealed1.", "here", SEALER),
        ("sealed1.\u00e9", "here", SEALER),
        ("plain text", "here", SEALER),
    ):
        with pytest.raises(InvalidRequest, match="another home or for something else") as caught:
            sealer.open(text, context)
        assert "secret" not in str(caught.value).replace("A sealed secret", "")
