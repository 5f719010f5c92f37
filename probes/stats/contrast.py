r"""Would another training have done the same?  A pair's figure beside the figure of a contrast, and the difference.

A contrast is a second pair on the same problems: the same base after RL with a random reward, or after supervised
tuning. What a random reward does as well is no effect of the true one (arXiv 2506.10947), and what supervised tuning
does as well is no effect of RL. A :class:`Measured` keeps a figure as a function of the weights of its problems, so
that any two of them can be resampled together:

.. math:: D(w) = F_{ours}(w) - F_{contrast}(w), \qquad w \text{ drawn over the problems that both have.}

Assumes that both figures were measured in the same way on problems of the same names. It does not show what made the
two trainings differ, nor what another run of either would give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from probes.stats.bootstrap import Statistic, bootstrap_weights, percentile_interval
from probes.stats.intervals import Estimate

Under = Callable[[Float[np.ndarray, "draw problem"]], Float[np.ndarray, "draw"]]
"""A figure under weights of its problems: a row of weights a draw, columns in the order of the problems."""

COLUMNS = ("contrast", "quantity", "value", "low", "high", "difference", "difference_low", "difference_high", "n")
"""Columns of :func:`beside`: the contrast's own figure, and ours minus it, over the problems that both have."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A figure with all that resampling it needs."""

    problems: tuple[str, ...]
    """Names of the problems it rests on, each once."""
    under: Under
    """The figure under weights of the problems; NaN where a draw leaves it undefined."""
    within: tuple[float, float] | None = None
    """Bounds of the figure, a share's 0 and 1; they give ends where all problems are alike."""
    against: Mapping[str, float] | None = None
    """By problem, what a mean difference is taken against, the base's own value; None where it is no such difference.
    Two differences against the same values differ by one difference only, whose bounds are then known."""

    def __post_init__(self) -> None:
        if len(set(self.problems)) != len(self.problems):
            raise ValueError("a figure names each of its problems once; take the mean of a problem's samples first")

    @classmethod
    def of_means(
        cls,
        problems: Sequence[str] | Shaped[np.ndarray, "problem"],
        table: Float[np.ndarray, "problem column"],
        statistic: Statistic | None = None,
        *,
        within: tuple[float, float] | None = None,
        against: Float[np.ndarray, "problem"] | None = None,
    ) -> Measured:
        """A function of means over problems, as :func:`probes.stats.bootstrap.bootstrap_table` takes it.

        Problems with a missing value in any column are left out.
        """
        kept = ~np.isnan(table).any(axis=1)
        rows = table[kept]
        apply: Statistic = statistic or (lambda mean: mean)

        def under(weights: Float[np.ndarray, "draw problem"]) -> Float[np.ndarray, "draw"]:
            with np.errstate(divide="ignore", invalid="ignore"):
                means = weights @ rows / weights.sum(axis=1, keepdims=True)
                return np.asarray(apply(*means.T), dtype=float)

        names = tuple(str(name) for name, keep in zip(problems, kept, strict=True) if keep)
        base = None if against is None else dict(zip(names, against[kept].tolist(), strict=True))
        return cls(names, under, within, base)

    def on(self, problems: Sequence[str], weights: Float[np.ndarray, "draw problem"]) -> Float[np.ndarray, "draw"]:
        """The figure under weights of some of its problems, the others left out."""
        place = {name: at for at, name in enumerate(self.problems)}
        whole = np.zeros((len(weights), len(self.problems)))
        whole[:, [place[name] for name in problems]] = weights
        return self.under(whole)

    def estimate(self, *, n_boot: int = 2000, level: float = 0.95, seed: int = 0, label: str = "bootstrap") -> Estimate:
        """The figure with its interval from resampling problems; NaN without any problem."""
        return _resampled(
            self.under, len(self.problems), self.within, n_boot=n_boot, level=level, seed=seed, label=label
        )

    def minus(
        self,
        other: Measured,
        *,
        within: tuple[float, float] | None = None,
        n_boot: int = 2000,
        level: float = 0.95,
        seed: int = 0,
        label: str = "bootstrap",
    ) -> Estimate:
        """This figure minus another one, both taken anew over the problems that they share, with a paired interval.

        ``within`` are bounds of the difference, where it has narrower ones than those that the two bounds give.

        It does not show why they differ.
        """
        shared = sorted(set(self.problems) & set(other.problems))
        if within is None and self.within is not None and other.within is not None:
            within = (self.within[0] - other.within[1], self.within[1] - other.within[0])
        return _resampled(
            lambda weights: self.on(shared, weights) - other.on(shared, weights),
            len(shared), within, n_boot=n_boot, level=level, seed=seed, label=label,
        )  # fmt: skip


def _resampled(
    under: Under, n: int, within: tuple[float, float] | None, *, n_boot: int, level: float, seed: int, label: str
) -> Estimate:
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "no problem has a value", level)
    value = float(under(np.ones((1, n)))[0])
    if math.isnan(value):
        return Estimate(value, math.nan, math.nan, n, "undefined on these problems", level)
    draws = under(bootstrap_weights(n, n_boot=n_boot, seed=seed, label=label).astype(float))
    inside = percentile_interval(draws, n=n, level=level, within=within)
    return Estimate(value, inside.low, inside.high, n, f"bootstrap over problems, {n_boot} draws", level)


def _one_base(ours: Measured, other: Measured) -> tuple[float, float] | None:
    """Bounds of (RL - base) - (contrast - base), which is RL - contrast; None where the bases are not known to be one.

    A contrast on another base, or measured without saying against what, may differ twice as far.
    """
    if ours.against is None or other.against is None or ours.within != other.within:
        return None
    shared = set(ours.problems) & set(other.problems)
    return ours.within if all(ours.against[name] == other.against[name] for name in shared) else None


def beside(
    ours: Mapping[str, Measured],
    contrasts: Mapping[str, Mapping[str, Measured]],
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a contrast and quantity: the contrast's figure and ours minus it, see :data:`COLUMNS`.

    Args:
        ours: this pair's figures by name.
        contrasts: the figures of each contrast by its name ("random reward", "SFT"); only names that both have count.
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws; the same seed gives the draws of the pair's own intervals.

    Raises:
        ValueError: a contrast that shares no figure or no problem with this pair.

    It does not show what made the difference.
    """
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for name, figures in contrasts.items():
        common = [quantity for quantity in ours if quantity in figures]
        if not common:
            raise ValueError(f"The contrast {name!r} has none of the figures of this pair; measure it the same way.")
        if not any(set(ours[quantity].problems) & set(figures[quantity].problems) for quantity in common):
            raise ValueError(f"The contrast {name!r} has no problem in common with this pair; use the same problems.")
        for quantity in common:
            first, second = ours[quantity], figures[quantity]
            own, gap = second.estimate(**options), first.minus(second, within=_one_base(first, second), **options)
            rows.append((name, quantity, own.value, own.low, own.high, gap.value, gap.low, gap.high, gap.n))
    return pd.DataFrame(rows, columns=list(COLUMNS))
