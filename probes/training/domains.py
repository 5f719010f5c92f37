"""Accuracies of runs on domains, each with its bootstrap draws, so that all runs are resampled together.

A cell is the accuracy of one state of training on one domain: entry 0 is the value, the others are draws over that
domain's problems, the same draws for every state.  A cell that came as a number has no draws of its own.

What they do not show: how a second run of the same state would score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from hooks.rollouts import Rollouts
from probes.stats import Estimate, bootstrap_weights, percentile_interval, problem_means

Scores = Rollouts | pd.Series | int | float
"""Graded rollouts, accuracies by problem, or one accuracy without its samples."""

State = tuple[Any, ...]


@dataclass(frozen=True)
class DomainRun:
    """One run over several domains in order."""

    order: tuple[str, ...]
    """Domains as they were trained."""
    stages: tuple[Mapping[str, Scores], ...]
    """Accuracies on all domains after each of them; or only those at the end, as a single entry."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Accuracy of every state on every domain, value and draws."""

    values: dict[tuple[State, str], Float[np.ndarray, "draw"]]
    counts: Mapping[str, int]
    """Problems of each domain; 0 where only numbers were given."""

    @property
    def problems(self) -> int:
        """Problems of all domains."""
        return sum(self.counts.values())

    @property
    def resampled(self) -> bool:
        """Whether there are draws."""
        return any(count > 1 for count in self.counts.values())

    def __getitem__(self, key: tuple[State, str]) -> Float[np.ndarray, "draw"]:
        return self.values[key]

    def estimate(
        self,
        values: Float[np.ndarray, "draw"],
        level: float,
        *,
        within: tuple[float, float],
        domain: str | None = None,
    ) -> Estimate:
        """A function of cells with its interval; one run where there is nothing to resample.

        ``within`` are its bounds; ``domain`` is the one whose problems it rests on, None for a mean over all.
        """
        n = self.problems if domain is None else self.counts[domain]
        if not self.resampled or n == 0:
            return Estimate(float(values[0]), math.nan, math.nan, n, "one run: no samples given", level)
        rests = self._rests() if domain is None else n
        ends = percentile_interval(values[1:], n=rests, level=level, within=within)
        return Estimate(float(values[0]), ends.low, ends.high, n, "bootstrap over problems", level)

    def _rests(self) -> int:
        """Problems that a mean over domains rests on: all of them if domains are equally large, fewer if not."""
        held = [count for count in self.counts.values() if count]
        return math.floor(len(held) ** 2 / sum(1 / count for count in held) + 1e-9)

    def row(
        self,
        name: str,
        values: Float[np.ndarray, "draw"],
        level: float,
        *,
        within: tuple[float, float],
        domain: str | None = None,
    ) -> dict[str, float]:
        """The same as three columns."""
        found = self.estimate(values, level, within=within, domain=domain)
        return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def cells(
    domains: tuple[str, ...],
    start: Mapping[str, Scores],
    singles: Mapping[str, Mapping[str, Scores]],
    runs: Sequence[DomainRun],
    joint: Mapping[str, Scores] | None,
    *,
    n_boot: int,
    seed: int,
) -> Cells:
    """Gather all accuracies and draw problems, domain by domain.

    Raises:
        ValueError: fewer than two domains, a missing accuracy, an order of other domains, or no common problem.

    They do not show how another run of one state would score.
    """
    if len(domains) < 2:
        raise ValueError(f"an order needs at least 2 domains, not {len(domains)}")
    states: dict[State, Mapping[str, Scores]] = {("start",): start}
    for domain in domains:
        if domain not in singles:
            raise ValueError(f"there is no run on {domain!r} alone; singles needs one for each of {', '.join(domains)}")
        states[("single", domain)] = singles[domain]
    for index, run in enumerate(runs):
        if sorted(run.order) != sorted(domains) or len(run.stages) not in (1, len(domains)):
            raise ValueError(
                f"run {index} has the order {run.order} and {len(run.stages)} stages; it needs each of "
                f"{', '.join(domains)} once, and accuracies after each of them or only at the end"
            )
        first = len(domains) if len(run.stages) == 1 else 1
        states |= {("run", index, first + at): stage for at, stage in enumerate(run.stages)}
    if joint is not None:
        states[("joint",)] = joint
    values: dict[tuple[State, str], np.ndarray] = {}
    counts = {}
    for domain in domains:
        lacking = [state for state, scores in states.items() if domain not in scores]
        if lacking:
            raise ValueError(
                f"there is no accuracy on {domain!r} for {' '.join(map(str, lacking[0]))}; give all of them"
            )
        found, counts[domain] = _draw({state: scores[domain] for state, scores in states.items()}, domain, n_boot, seed)
        values |= {(state, domain): column for state, column in found.items()}
    return Cells(values, counts)


def _draw(scores: Mapping[State, Scores], domain: str, n_boot: int, seed: int) -> tuple[dict[State, np.ndarray], int]:
    """Value and draws of each state on one domain, over the problems that all states with samples have."""
    means = {state: _by_problem(one) for state, one in scores.items() if not isinstance(one, (int, float))}
    out = {state: np.full(1 + n_boot, float(one)) for state, one in scores.items() if isinstance(one, (int, float))}
    if not means:
        return out, 0
    common = sorted(set.intersection(*(set(one.index) for one in means.values())))
    if not common:
        raise ValueError(f"the runs have no problem of {domain!r} in common; grade the same problems after each")
    weights = np.concatenate(
        [np.ones((1, len(common))), bootstrap_weights(len(common), n_boot=n_boot, seed=seed, label=f"domain {domain}")]
    )
    for state, one in means.items():
        out[state] = weights @ one.loc[common].to_numpy(dtype=float) / len(common)
    return out, len(common)


def _by_problem(scores: Rollouts | pd.Series) -> pd.Series:
    if isinstance(scores, pd.Series):
        return scores.dropna()
    names, means = problem_means(scores.frame["correct"], scores.frame["problem"])
    return pd.Series(means, index=names).dropna()
