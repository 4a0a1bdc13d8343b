"""Memory of attention in blocks of tokens: which belong to which sequence, and which hold a prefix that another may share.

A full block is known by the block before it and its tokens, so equal prefixes are found whole and without hashing that could err.
Blocks that nobody uses keep what they hold until their room is needed, the longest unused first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

_ROOT = 0


class _Table:
    __slots__ = ("blocks", "known", "node", "tokens")

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.tokens: list[int] = []
        self.known = 0
        """Full blocks that can be shared."""
        self.node = _ROOT
        """What the last of those is known by."""


class BlockPool:
    """``count`` blocks of ``size`` tokens. Not for several threads."""

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._users = [0] * count
        self._nodes: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}
        """(node before, tokens) → (node, block)"""
        self._keys: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._tables: dict[int, _Table] = {}
        self._next = _ROOT

    @property
    def available(self) -> int:
        """Blocks that can be had."""
        return len(self._free) + len(self._idle)

    def blocks(self, sequence: int) -> list[int]:
        """The blocks of a sequence in order."""
        return self._tables[sequence].blocks

    def admit(self, sequence: int, tokens: Sequence[int]) -> int | None:
        """Room for ``tokens``; how many of them are there already (at most all but one), or None when there is no room."""
        table = _Table()
        for start in range(0, len(tokens) - self.size, self.size):
            found = self._nodes.get((table.node, tuple(tokens[start : start + self.size])))
            if found is None:
                break
            table.node, block = found
            table.blocks.append(block)
        shared = len(table.blocks)
        for block in table.blocks:
            self._use(block)
        if self._blocks_for(len(tokens)) - shared > self.available:
            for block in table.blocks:
                self._leave(block)
            return None
        table.known = shared
        table.tokens = list(tokens[: shared * self.size])
        self._tables[sequence] = table
        self.grow(sequence, len(tokens))
        return shared * self.size

    def grow(self, sequence: int, length: int) -> bool:
        """Room for ``length`` tokens in all; False, with nothing changed, when there is none."""
        table = self._tables[sequence]
        wanted = self._blocks_for(length) - len(table.blocks)
        if wanted > self.available:
            return False
        for _ in range(wanted):
            table.blocks.append(self._take())
        return True

    def computed(self, sequence: int, tokens: Sequence[int]) -> None:
        """Says that the next ``tokens`` of a sequence are in its blocks, whose full ones can be shared from now on."""
        table = self._tables[sequence]
        table.tokens += tokens
        while len(table.tokens) >= (table.known + 1) * self.size:
            start = table.known * self.size
            key = (table.node, tuple(table.tokens[start : start + self.size]))
            found = self._nodes.get(key)
            if found is None:
                self._next += 1
                block = table.blocks[table.known]
                self._nodes[key] = (self._next, block)
                self._keys[block] = key
                table.node = self._next
            else:  # another sequence computed the same meanwhile; this one's copy stays its own
                table.node = found[0]
            table.known += 1

    def release(self, sequence: int) -> None:
        """Gives a sequence's blocks back; what can be shared stays as long as there is room."""
        table = self._tables.pop(sequence, None)
        if table is not None:
            # The end of a prefix is of less use than its beginning, so it goes first.
            for block in reversed(table.blocks):
                self._leave(block)

    def _blocks_for(self, length: int) -> int:
        return -(-length // self.size)

    def _use(self, block: int) -> None:
        self._users[block] += 1
        self._idle.pop(block, None)

    def _leave(self, block: int) -> None:
        self._users[block] -= 1
        if self._users[block]:
            return
        if block in self._keys:
            self._idle[block] = None
        else:
            self._free.append(block)

    def _take(self) -> int:
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._idle.popitem(last=False)
            del self._nodes[self._keys.pop(block)]
        self._users[block] = 1
        return block
