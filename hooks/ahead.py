"""Prompts that are read before their rows have a seat, several in one forward.

Rows end one by one.  Were each next prompt read when its seat falls free, every one would cost a forward of its own;
read together, they cost what they would have cost in a batch.  Their keys wait beside the seats' and are copied over.
Never more prompts are read than there are seats: what fits into memory as a batch fits here.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int

from hooks.reader import Reader
from hooks.seats import Seats

PROMPTS = 8
"""Prompts that are read together (more where more seats fall free at once, fewer where there are fewer seats)."""


class Ahead:
    """The next prompts, as one reader has read them."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._held = reader, dict[tuple[int, ...], int]()
        self._read: Reader | None = None

    def give(self, seats: Seats, at: Int[np.ndarray, "new"]) -> None:
        """Let the reader hold all but the last token of the prompts that begin in seats ``at``."""
        left = at[seats.n_prompt[at] > 1]
        while len(left):
            known = np.array([seats.prompt(seat) in self._held for seat in left.tolist()])
            if self._read is not None and known.any():
                chosen = left[known]
                source = np.array([self._held[seats.prompt(seat)] for seat in chosen.tolist()])
                self._reader.take_over(chosen, self._read, source)
            left = left[~known]
            if len(left):
                self._read_on(seats, int(seats.live[left[0]]), max(len(left), min(PROMPTS, len(seats.live))))

    def _read_on(self, seats: Seats, first: int, most: int) -> None:
        """Read the distinct prompts of the rows from ``first`` on."""
        self._read, self._held = None, {}
        for row in seats.rows[first:]:
            if len(self._held) == most:
                break
            if len(row.ids) > 1:
                self._held.setdefault(row.ids, len(self._held))
        lengths = np.array([len(ids) - 1 for ids in self._held])
        text = np.zeros((len(lengths), int(lengths.max())), dtype=np.int64)
        for at, ids in enumerate(self._held):
            text[at, : lengths[at]] = ids[:-1]
        self._read = Reader(self._reader.model, lengths, self._reader.cut)
        self._read.catch_up(torch.from_numpy(text).to(seats.device), lengths, np.arange(len(lengths)))
