"""Stop texts in a text that comes piece by piece."""

from __future__ import annotations

from collections.abc import Sequence


class StopFinder:
    """Lets text pass until a stop text begins; keeps back what may yet turn out to begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._kept = ""
        self.found = ""
        """The stop text that came, once one has."""

    def add(self, text: str) -> str:
        """What may be shown of what is kept and ``text``; nothing may be added once a stop text was found."""
        if not self._stops:
            return text
        text = self._kept + text
        hits = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            at, self.found = min(hits)
            self._kept = ""
            return text[:at]
        keep = self._unsure(text)
        self._kept = text[len(text) - keep :] if keep else ""
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was kept back, now that nothing more comes."""
        kept, self._kept = self._kept, ""
        return kept

    def _unsure(self, text: str) -> int:
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:size]):
                    longest = size
                    break
        return longest
