from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtimes.generative.blocks import BlockPool


def test_a_prefix_that_was_computed_is_found_again() -> None:
    pool = BlockPool(8, 4)
    tokens = list(range(10))
    assert pool.admit(1, tokens) == 0
    pool.computed(1, tokens)
    assert pool.admit(2, [*tokens[:8], 99, 98]) == 8
    assert pool.blocks(2)[:2] == pool.blocks(1)[:2]
    pool.release(1)
    pool.release(2)
    assert pool.available == 8
    assert pool.admit(3, tokens[:8]) == 4  # at least one token is always left to compute


def test_what_does_not_fit_changes_nothing() -> None:
    pool = BlockPool(3, 4)
    assert pool.admit(1, [1] * 8) == 0
    assert pool.admit(2, [2] * 8) is None
    assert not pool.grow(1, 16)
    assert pool.grow(1, 12)
    assert pool.available == 0
    pool.release(1)
    assert pool.available == 3


@given(
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 1), min_size=1, max_size=20), st.integers(0, 6)), min_size=1, max_size=40)
)
def test_blocks_are_never_lost_nor_given_twice(steps: list[tuple[int, list[int], int]]) -> None:
    pool = BlockPool(12, 2)
    held: dict[int, list[int]] = {}
    for name, tokens, more in steps:
        if name in held:
            pool.release(name)
            del held[name]
            continue
        cached = pool.admit(name, tokens)
        if cached is None:
            continue
        held[name] = tokens
        assert cached < len(tokens)
        assert cached % 2 == 0
        pool.computed(name, tokens[cached:])
        if pool.grow(name, len(tokens) + more):
            pool.computed(name, [7] * more)
            tokens.extend([7] * more)
        # What two sequences share holds the same tokens for both.
        place: dict[int, tuple[int, ...]] = {}
        for other, known in held.items():
            blocks = pool.blocks(other)
            assert len(blocks) == -(-len(known) // 2)
            for at, block in enumerate(blocks):
                prefix = tuple(known[: at * 2 + 2])
                assert place.setdefault(block, prefix) == prefix
        assert len(place) + pool.available == 12
    for name in held:
        pool.release(name)
    assert pool.available == 12
