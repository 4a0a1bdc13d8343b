"""Outputs that several calls share, because one run computed them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelyard.core.tensors import Array


class Run:
    """The outputs of a run that several calls share; each has its rows of them.

    The rest is for encoders, once the first of the calls needed it: ``rows_json`` has, by output, each row's numbers as flat JSON
    without brackets (null for what is not finite), and ``answers``, by deployment, the whole answer to a call of that one row.
    """

    __slots__ = ("answers", "outputs", "rows_json")

    def __init__(self, outputs: Mapping[str, Array]) -> None:
        self.outputs = outputs
        self.rows_json: dict[str, list[bytes]] = {}
        self.answers: dict[str, list[bytes]] = {}


class Share(Mapping[str, Array]):
    """One call's outputs: rows ``first`` to ``end`` of a run. An array is cut out when it is asked for."""

    __slots__ = ("_names", "end", "first", "run")

    def __init__(self, run: Run, first: int, end: int, names: tuple[str, ...]) -> None:
        self.run, self.first, self.end, self._names = run, first, end, names

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self.run.outputs[name][self.first : self.end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
