"""Warnings that are worth a person's time: said once, when what they say has held for a while."""

from collections.abc import Callable

PATIENCE = 5
"""Log lines in a row that must agree."""


class Alarms:
    """Says a warning when it has been raised `patience` times in a row, and again only after it was gone."""

    def __init__(self, say: Callable[[str], None], *, patience: int = PATIENCE) -> None:
        self._say, self._patience = say, patience
        self._held: dict[str, int] = {}

    def hear(self, step: int, raised: list[str]) -> None:
        """What is raised at a log line, at a step."""
        self._held = {warning: self._held.get(warning, 0) + 1 for warning in raised}
        for warning, times in self._held.items():
            if times == self._patience:
                self._say(f"warning at step {step}: {warning}")
