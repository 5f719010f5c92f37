"""A push that depends on where it falls: at an open place of sort c the writer's activation h becomes h + move(h, c).

:class:`hooks.steer.Steering` adds what was settled beforehand. Here the sort of a place (which strategy the other model
is in, say) is read off the place itself, and the push may depend on the activation that it changes: the writing of
arXiv 2510.07364's second version, a vector for each strategy with a learned coefficient. It acts at the open place
alone, over a text that was read without it (``reach="place"`` of :func:`hooks.mix.mix`).

What it does not show: anything about strategies, before the same pushes of wrong sorts, at wrong places and along
random vectors stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.gate import Sight
from hooks.sites import Site


@dataclass(frozen=True, eq=False)
class Shift:
    """What is added at an open place, by its sort."""

    site: Site
    """Where the writer is pushed."""
    sort: Callable[[Sight], Int[Tensor, "position"]]
    """The sort of each position, from what may be seen there; like a gate's score it judges each place by itself."""
    move: Callable[[Float[Tensor, "place d_model"], Int[Tensor, "place"]], Float[Tensor, "place d_model"]]
    """From activations at ``site`` and sorts to what is added."""
    other_site: str | None = None
    """A coarse site of the other model, shown to ``sort`` as ``Sight.other_hidden``; wants a gate with
    ``needs="both"``."""
    name: str = "shift"
    """What it is called where finished runs are kept; two that write differently need two names."""
    per_row: bool = False
    """A shift has no dose a row; here because a steering may have."""

    def for_rows(self, n_rows: int, n: int = 1) -> Shift:
        """The same: a shift knows no rows."""
        return self

    def __str__(self) -> str:
        return f"{self.name} at {self.site}"


class PlacedShift:
    """A shift over the rows of one batch, for a reader that looks at one place a row."""

    def __init__(self, shift: Shift, model: Any) -> None:
        """Bind a shift to its model.

        Raises:
            ValueError: when the site lies outside the model.
        """
        if shift.site.layer >= model.n_layers:
            raise ValueError(f"{shift.site} lies outside {model.name}, which has layers 0 to {model.n_layers - 1}")
        self._shift, self._model = shift, model
        self._sorts: Tensor | None = None

    def keep(self, stay: Int[np.ndarray, "stay"]) -> None:
        """Nothing is held for a row from one look to the next."""

    def seat(self, at: Int[np.ndarray, "new"], rows: Sequence[int], n_prompt: Int[np.ndarray, "new"]) -> None:
        """Nor for the rows that take their place."""

    def aim(self, sorts: Int[np.ndarray, "chosen"]) -> None:
        """Say of what sort the place is that the next forward ends at, in each row that it reads."""
        self._sorts = torch.from_numpy(sorts.astype(np.int64)).to(self._model.device)

    @contextmanager
    def during(
        self,
        text: Int[Tensor, "row pos"],
        rows: Int[np.ndarray, "chosen"] | None,
        place: Int[Tensor, "chosen query"],
        real: Bool[Tensor, "chosen query"],
    ) -> Iterator[None]:
        """Push the last column of every row in the forwards inside."""
        sorts = self._sorts
        if sorts is None or len(sorts) != len(place):
            raise ValueError("a shift was not told the sorts of the places it is to act at")

        def change(_: Site, hidden: Tensor) -> Tensor:
            pushed = hidden.clone()
            pushed[:, -1] += self._shift.move(hidden[:, -1], sorts).to(hidden.dtype)
            return pushed

        with self._model.watch([self._shift.site], change):
            yield
