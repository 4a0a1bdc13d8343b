"""What a call has used. In a module of its own, because it is compiled: a call's path writes and reads these a few dozen times."""

from __future__ import annotations


class Cost:
    """Filled in as it becomes known; read when the call's permit is settled. ``explanations`` are of the answer, for calls that explain."""

    __slots__ = ("cached", "compute_us", "explanations", "queue_us", "rows", "tokens_cached", "tokens_in", "tokens_out", "version_id")

    def __init__(  # each is a fact of its own; callers name them
        self,
        *,
        rows: int = 0,
        tokens_in: int = 0,
        tokens_out: int = 0,
        tokens_cached: int = 0,
        queue_us: int = 0,
        compute_us: int = 0,
        version_id: int = 0,
        cached: bool = False,
    ) -> None:
        self.rows = rows
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out
        self.tokens_cached = tokens_cached
        self.queue_us = queue_us
        self.compute_us = compute_us
        self.version_id = version_id
        self.cached = cached
        self.explanations = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cost) and _facts(self) == _facts(other)

    def __hash__(self) -> int:
        raise TypeError("A cost changes while its call goes on; it cannot be hashed.")

    def __repr__(self) -> str:
        names = ("rows", "tokens_in", "tokens_out", "tokens_cached", "queue_us", "compute_us", "version_id", "cached", "explanations")
        told = ", ".join(f"{name}={fact}" for name, fact in zip(names, _facts(self), strict=True) if fact)
        return f"Cost({told})"


def _facts(cost: Cost) -> tuple[int, ...]:
    tokens = (cost.tokens_in, cost.tokens_out, cost.tokens_cached)
    return (cost.rows, *tokens, cost.queue_us, cost.compute_us, cost.version_id, int(cost.cached), cost.explanations)
