"""What was written and known at every token of a batch, entered as it is settled.

One grid of seats and tokens a column, filled where texts have got to; a row's lists are read off when it has ended,
and its seat is blank again for the next.
What nobody looked at stays blank: NaN, or None for a token. The ledger records; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hooks.generate import Written
from hooks.judge import FACTS

Grid = np.ndarray
"""One value a row and token (or drafted position)."""

TOKENS = ("primary_choice", "other_choice")
FLAGS = ("gate_open", "changed")
NUMBERS = ("gate_score", "js", "entropy_primary", "entropy_other")


@dataclass(frozen=True)
class Settled(Written):
    """What one row became, with what was known at each of its tokens."""

    columns: dict[str, list[Any]]
    """gate_open, changed, gate_score, js, entropies, and what each model would have written (None where not asked)."""


class Ledger:
    """The grids of one batch."""

    def __init__(self, n_rows: int, max_new_tokens: int, *, also: Mapping[str, int] | None = None) -> None:
        """Start empty; ``also`` names further columns of numbers from 0, and what stands there where nobody looked."""
        self._tokens = (*TOKENS, *(also or {}))
        blanks: dict[str, Any] = {"ids": -1, "logp": np.nan, "primary_choice": -1, "gate_open": False, "changed": False}
        self._blanks = FACTS | blanks | dict(also or {})
        self._grids = {name: np.full((n_rows, max_new_tokens), blank) for name, blank in self._blanks.items()}
        self._length = np.zeros(n_rows, dtype=np.int64)
        self._stop = ["length"] * n_rows

    def enter(
        self,
        index: Int[np.ndarray, "row"],
        taken: Bool[np.ndarray, "row draft"],
        columns: Mapping[str, Grid],
    ) -> None:
        """Enter the ``taken`` positions, the first of each row being its token number ``index``."""
        row, column = taken.nonzero()
        for name, grid in columns.items():
            self._grids[name][row, index[row] + column] = grid[row, column]
        self._length = index + taken.sum(axis=1)

    def ids(self, row: int) -> list[int]:
        """The tokens of a row so far."""
        said: list[int] = self._grids["ids"][row, : self._length[row]].tolist()
        return said

    def close(self, row: int, stop: str) -> None:
        """Say why a row has ended."""
        self._stop[row] = stop

    def clear(self, rows: Int[np.ndarray, "some"]) -> None:
        """Blank these rows for others to begin."""
        for name, grid in self._grids.items():
            grid[rows] = self._blanks[name]
        self._length[rows] = 0
        for row in rows.tolist():
            self._stop[row] = "length"

    def keep(self, stay: Int[np.ndarray, "stay"]) -> None:
        """Drop every row but these."""
        self._grids = {name: grid[stay] for name, grid in self._grids.items()}
        self._length, self._stop = self._length[stay], [self._stop[row] for row in stay.tolist()]

    def settled(self, row: int) -> Settled:
        """Read off one row."""
        own = {name: grid[row, : self._length[row]] for name, grid in self._grids.items()}
        columns: dict[str, list[Any]] = {name: own[name].tolist() for name in (*FLAGS, *NUMBERS)}
        for name in self._tokens:
            columns[name] = [None if token < 0 else token for token in own[name].tolist()]
        return Settled(own["ids"].tolist(), own["logp"].tolist(), self._stop[row], columns)
