"""The rows of a steered batch: whose prompt ends where, what each has said so far, and so what is chosen and how dosed.

Rules for positions that look at numbers only become a table, a row a text and a column a position, and choosing is one
look-up for the whole batch.  Rules on token ids are one comparison.  Only rules on the text are judged row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hooks.positions import Positions
from hooks.steer import Steering

STEP = 256
"""Columns that a table grows by, at least."""
STEADY = ("all", "generated", "completion")
"""Rules that choose every place behind the prompt."""


@dataclass(eq=False)
class Texts:
    """The texts of one batch, in the order of its rows; it grows as they do."""

    steering: Steering
    model: Any
    rows: Sequence[int]
    """Number of each text: which entry of per-row alphas, masks and spans is its own."""
    n_prompt: Sequence[int]
    """Tokens of each prompt."""
    widest: int | None = None
    """Columns of a cache beyond which no row's prompt reaches; None where that is not known."""
    _tables: dict[Positions, Tensor] = field(default_factory=dict)
    _factors: Tensor | None = None
    _said: np.ndarray | None = None
    _known: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.n_prompt = list(self.n_prompt)
        self.rows = list(self.rows)
        self.reads_ids = reads_ids(self.steering.positions)
        self.shifts: dict[tuple[tuple[int, ...], torch.dtype], Tensor] = {}
        self._alphas = [self._alpha(part.alpha) for part in self.steering.parts]
        if self.reads_ids and self._said is None:
            self._said, self._known = np.zeros((len(self.rows), STEP), np.int64), np.zeros(len(self.rows), np.int64)

    def _alpha(self, alpha: float | tuple[float, ...]) -> float | Tensor:
        if not isinstance(alpha, tuple):
            return alpha
        if max(self.rows, default=0) >= len(alpha):
            raise ValueError(f"steering has alphas for {len(alpha)} rows and none for row {max(self.rows)}")
        return torch.tensor([alpha[row] for row in self.rows], device=self.model.device)[:, None]

    def take(self, index: Sequence[int]) -> Texts:
        """The texts at these places, in this order."""
        at = torch.tensor(list(index), dtype=torch.long, device=self.model.device)
        return Texts(
            self.steering,
            self.model,
            [self.rows[one] for one in index],
            [self.n_prompt[one] for one in index],
            self.widest,
            {rule: table[at] for rule, table in self._tables.items()},
            None if self._factors is None else self._factors[at],
            None if self._said is None else self._said[list(index)],
            None if self._known is None else self._known[list(index)],
        )

    def steady(self, past: int) -> bool:
        """Whether every token behind ``past`` cached columns is chosen and dosed like the one before it.

        Then nothing about its place has to be looked up.
        """
        known = self.widest is not None and past >= self.widest
        return known and self.steering.schedule is None and self.steering.positions.rule in STEADY

    @property
    def alphas(self) -> list[Tensor | float]:
        """Of each part the dose without a schedule, one number or one a row."""
        return list(self._alphas)

    def remember(self, row: int, ids: Sequence[int]) -> None:
        """Note what a text began with, for rules that look at ids."""
        if self._said is not None and self._known is not None:
            self._grow(len(ids))
            self._said[row, : len(ids)] = ids
            self._known[row] = len(ids)

    def write(
        self, ids: Int[Tensor, "batch pos"], places: Int[Tensor, "batch pos"], real: Bool[Tensor, "batch pos"]
    ) -> None:
        """Note the ids of a forward at their places; going back over places that were cut off is allowed.

        Raises:
            ValueError: when tokens before them are unknown.
        """
        assert self._said is not None
        assert self._known is not None
        tokens, at, there = ids.cpu().numpy(), places.cpu().numpy(), real.cpu().numpy()
        row, column = np.nonzero(there)
        if not len(row):
            return
        self._grow(int(at.max()) + 1)
        first = np.where(there, at, np.iinfo(np.int64).max).min(axis=1)
        if (first[there.any(axis=1)] > self._known[there.any(axis=1)]).any():
            raise ValueError(
                f"positions {self.steering.positions} look at earlier token ids, which were read outside this "
                "steering; read the whole text inside the context"
            )
        self._said[row, at[row, column]] = tokens[row, column]
        self._known = np.where(there.any(axis=1), np.where(there, at, -1).max(axis=1) + 1, self._known)

    def _grow(self, length: int) -> None:
        assert self._said is not None
        if length > self._said.shape[1]:
            more = max(length - self._said.shape[1], STEP)
            self._said = np.pad(self._said, ((0, 0), (0, more)))

    def chosen(
        self, places: Int[Tensor, "batch pos"], reach: int, ids: Int[Tensor, "batch pos"] | None = None
    ) -> Bool[Tensor, "batch pos"]:
        """Say which of these places are chosen.

        Args:
            places: absolute position of each token, pads excluded.
            reach: a number above every place.
            ids: the tokens there, for rules that look at them.
        """
        return self._judge(self.steering.positions, places, reach, ids)

    def _judge(self, rule: Positions, places: Tensor, reach: int, ids: Tensor | None) -> Tensor:
        if not reads_ids(rule):
            return self._table(rule, reach).gather(1, places)
        if rule.rule == "after":
            return self._after(rule, places, ids)
        parts = [self._judge(part, places, reach, ids) for part in rule.arguments]
        if rule.rule == "not":
            return ~parts[0]
        return parts[0] & parts[1] if rule.rule == "and" else parts[0] | parts[1]

    def _after(self, rule: Positions, places: Tensor, ids: Tensor | None) -> Tensor:
        assert ids is not None
        assert self._said is not None
        if not rule.needs_tokenizer:
            return torch.isin(ids, torch.tensor(rule.arguments[0], dtype=torch.long, device=ids.device))
        out = np.zeros(tuple(places.shape), dtype=bool)
        for row, at in enumerate(places.tolist()):
            for column, place in enumerate(at):
                said = self._said[row, : place + 1]
                out[row, column] = rule.step(
                    said, self.n_prompt[row], tokenizer=self.model.tokenizer, row=self.rows[row]
                )
        return torch.from_numpy(out).to(places.device)

    def _table(self, rule: Positions, reach: int) -> Tensor:
        table = self._tables.get(rule)
        if table is None or table.shape[1] < reach:
            blank = np.zeros(reach + STEP, np.int64)
            table = self._lay_out(lambda text: rule.select(blank, self.n_prompt[text], row=self.rows[text]))
            self._tables[rule] = table
        return table

    def _lay_out(self, of_text: Callable[[int], np.ndarray]) -> Tensor:
        made: dict[tuple[int, int], np.ndarray] = {}
        keys = [(n, row if self.steering.rows_differ else 0) for n, row in zip(self.n_prompt, self.rows, strict=True)]
        for text, key in enumerate(keys):
            if key not in made:
                made[key] = of_text(text)
        return torch.from_numpy(np.stack([made[key] for key in keys])).to(self.model.device)

    def doses(self, places: Int[Tensor, "batch pos"], reach: int) -> list[Tensor | float]:
        """Of each part the dose at these places, one number or a tensor that spreads over [batch, pos]."""
        if self.steering.schedule is None:
            return list(self._alphas)
        if self._factors is None or self._factors.shape[1] < reach:
            self._factors = self._lay_out(lambda text: self._factor(reach + STEP, self.n_prompt[text]))
        factor = self._factors.gather(1, places)
        return [factor * alpha for alpha in self._alphas]

    def _factor(self, length: int, n_prompt: int) -> np.ndarray:
        schedule = self.steering.schedule
        index = (np.arange(length) - (n_prompt - 1)).clip(min=0)
        if callable(schedule):
            known = np.array([float(schedule(at)) for at in range(int(index.max(initial=0)) + 1)], np.float32)
        else:
            known = np.array(schedule, np.float32)
        if not np.isfinite(known).all():
            raise ValueError("the schedule gives a factor that is not finite")
        return known[index.clip(max=len(known) - 1)]


def reads_ids(positions: Positions) -> bool:
    """Whether a rule looks at token ids and not at places alone."""
    if positions.rule == "after":
        return True
    return any(reads_ids(part) for part in positions.arguments if isinstance(part, Positions))
