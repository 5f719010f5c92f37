"""Steering a reader whose rows stand at known positions, several at a time, cut and caught up.

:meth:`hooks.steer.Steering.on` works out from masks and caches where somebody else's loop stands. A reader of
:mod:`hooks.reader` knows: it says for each column of a forward pass which absolute position it is, and this module
looks up what is chosen there and how it is dosed. The arithmetic is :func:`hooks.steer.act` in both, so a text read in
pieces, read twice or read in one go is steered at the same positions by the same amount.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.sites import Site
from hooks.steer import Steering, act
from hooks.texts import Texts


class Placed:
    """One steering over the rows of one batch."""

    def __init__(
        self, steering: Steering, model: Any, rows: Sequence[int], n_prompt: Sequence[int], *, last_only: bool = False
    ) -> None:
        """Bind a steering to rows.

        Args:
            steering: what is done.
            model: to whom.
            rows: number of each text, which entry of per-row alphas, masks and spans is its own.
            n_prompt: tokens of each prompt.
            last_only: act at the last position of each forward pass alone.

        Raises:
            ValueError: when a direction does not fit the model.
        """
        with steering.on(model):
            # Entered for its checks, so that one rule says which directions fit which model.
            pass
        self._texts = Texts(steering, model, list(rows), list(n_prompt))
        self._steering, self._model, self._last_only = steering, model, last_only
        self._vectors: dict[int, Float[Tensor, "d_model"]] = {}

    def keep(self, stay: Int[np.ndarray, "stay"]) -> None:
        """Drop every row but these."""
        self._texts = self._texts.take(stay.tolist())

    def seat(self, at: Int[np.ndarray, "new"], rows: Sequence[int], n_prompt: Int[np.ndarray, "new"]) -> None:
        """Begin other texts in the rows ``at``."""
        numbers, lengths = list(self._texts.rows), list(self._texts.n_prompt)
        for seat, number, length in zip(at.tolist(), rows, n_prompt.tolist(), strict=True):
            numbers[seat], lengths[seat] = number, length
        # What the others have said is told again before it is looked at.
        self._texts = Texts(self._steering, self._model, numbers, lengths)

    @contextmanager
    def during(
        self,
        text: Int[Tensor, "row pos"],
        rows: Int[np.ndarray, "chosen"] | None,
        place: Int[Tensor, "chosen query"],
        real: Bool[Tensor, "chosen query"],
    ) -> Iterator[None]:
        """Steer the forward passes inside, whose rows and columns stand at ``place`` of ``text``."""
        texts = self._texts if rows is None else self._texts.take(rows.tolist())
        ids = text if rows is None else text[torch.as_tensor(rows, device=text.device)]
        reach = int(place.max()) + 1
        if texts.reads_ids:
            for row, (said, length) in enumerate(zip(ids.tolist(), (place[:, -1] + 1).tolist(), strict=True)):
                texts.remember(row, said[:length])
        chosen = texts.chosen(place, reach, ids.gather(1, place)) & real
        if self._last_only:
            chosen[:, :-1] = False
        doses = texts.doses(place, reach)

        def change(site: Site, hidden: Tensor) -> Tensor:
            for at, part in enumerate(self._steering.parts):
                if part.direction.site == site:
                    here = chosen if self._steering.when is None else chosen & self._steering.when(hidden)
                    hidden = act(part.operator, hidden, self._vector(at, hidden.device), doses[at], here)
            return hidden

        with self._model.watch(list(dict.fromkeys(part.direction.site for part in self._steering.parts)), change):
            yield

    def _vector(self, at: int, device: torch.device) -> Float[Tensor, "d_model"]:
        if at not in self._vectors:
            direction = self._steering.parts[at].direction
            unit = direction.typical_norm / direction.norm if self._steering.relative else 1.0
            self._vectors[at] = (direction.vector * unit).to(device)
        return self._vectors[at]
