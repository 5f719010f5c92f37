r"""Does the base catch up if its samples vote?  maj@k of both models: is the most frequent of k answers the right one?

pass@k asks whether any of ``k`` samples is right, which only somebody who knows the answer can use; maj@k
(:mod:`probes.samples.majority_estimates`) whether the answer that most of them give is. RL that only makes likelier
what the base already prefers moves pass@1 up to the base's maj@k and leaves maj@k where it was. arXiv 2504.07912
reports maj@64 beside pass@64 along training.

All right samples of a problem vote for one answer, whatever its form; wrong ones for the answer that grading read from
them (by its value, where it is a number); samples without an answer do not vote. Intervals resample problems, both
models' together.

Assumes samples drawn independently with the same decoding, and wrong answers that are written in one form: one in two
forms splits its votes. What it does not show: whether the reasoning behind the winning answer is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.samples.majority_estimates import maj_at_ks
from probes.stats import Estimate
from probes.stats.contrast import Measured, beside
from probes.tasks.reading import as_number

LARGEST = 64
"""Largest k by default, that of arXiv 2504.07912."""
ARMS = ("base", "rl", "rl - base")


@dataclass(frozen=True, repr=False, eq=False)
class Majority(Result):
    """maj@k of a base and its RL model on the same problems."""

    frame: pd.DataFrame
    """A row a k and model: ``k``, ``model`` (base, rl, or ``rl - base``), ``value``, ``low``, ``high``."""
    voting: Estimate
    """maj@k of the base at the largest k minus pass@1 of the RL model: what voting alone gives the base."""
    n_problems: int
    """Problems that both models have graded samples of."""
    contrasts: pd.DataFrame
    """The differences and ``voting`` of each contrast and ours minus them, see
    :data:`probes.stats.contrast.COLUMNS`; empty without any."""

    @property
    def largest(self) -> int:
        """The largest k."""
        return int(self.frame["k"].max())

    def at(self, k: int, model: str = "rl - base") -> Estimate:
        """One value; ValueError for a k or a model that is not in the table."""
        rows = self.frame[(self.frame["k"] == k) & (self.frame["model"] == model)]
        if rows.empty:
            raise ValueError(f"There is no maj@{k} of {model!r} here; there are k = {sorted(set(self.frame['k']))}.")
        value, low, high = (float(rows.iloc[0][name]) for name in ("value", "low", "high"))
        return Estimate(value, low, high, self.n_problems, "paired bootstrap over problems", self.level)

    def headline(self) -> str:
        """Both models at one vote and at the most, and the difference there."""
        k = self.largest
        said = "; ".join(
            f"maj@{one}: base {self.at(one, 'base').value:.3f}, RL {self.at(one, 'rl').value:.3f}"
            for one in dict.fromkeys((int(self.frame["k"].min()), k))
        )
        return f"{said}; RL minus base at {k} votes {self.at(k):.3f}; {self.n_problems} problems"

    def plot(self) -> go.Figure:
        """maj@k of both models over log k, with intervals."""
        figure = go.Figure()
        for model, name, colour in (("base", "base", "rgb(127,140,141)"), ("rl", "RL", "rgb(36,113,163)")):
            rows = self.frame[self.frame["model"] == model]
            bars = {
                "type": "data", "symmetric": False,
                "array": list(rows["high"] - rows["value"]), "arrayminus": list(rows["value"] - rows["low"]),
            }  # fmt: skip
            figure.add_scatter(
                x=list(rows["k"]), y=list(rows["value"]), error_y=bars, mode="lines+markers", name=name,
                line_color=colour,
            )  # fmt: skip
        return figure.update_layout(
            template="plotly_white", xaxis={"type": "log", "title": "k (votes)"}, yaxis={"title": "maj@k"},
            title=self.headline(),
        )  # fmt: skip


def majority(
    base: Rollouts,
    rl: Rollouts,
    *,
    ks: Sequence[int] | None = None,
    contrast: Mapping[str, Rollouts] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Majority:
    """maj@k of both models with paired intervals.

    Args:
        base: graded samples of the base, with the answers that grading read.
        rl: the same of the RL model; matched by the names of the problems.
        ks: numbers of votes; by default powers of two up to 64 or the fewest samples of a problem, and that.
        contrast: samples of other models tuned from the same base, by name ("random reward", "SFT").
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: samples that nobody graded, no problem in common, or a k that some problem has too few samples for.

    It does not show whether the reasoning behind the winning answer is right.
    """
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    ballots = {"base": _ballots(base, "base"), "rl": _ballots(rl, "RL")}
    shared = sorted(set(ballots["base"]) & set(ballots["rl"]))
    if not shared:
        raise ValueError("Base and RL samples have no problem in common; compare samples of the same problems.")
    wanted = _wanted(ks, min(_size(one[name]) for one in ballots.values() for name in shared))
    values = {arm: _votes(one, shared, wanted) for arm, one in ballots.items()}
    figures = _figures(shared, values["base"], values["rl"], wanted)
    rows = [
        {"k": k, "model": arm, **{name: getattr(found, name) for name in ("value", "low", "high")}}
        for arm in ARMS
        for k in wanted.tolist()
        for found in [figures[_name(k, arm)].estimate(**options)]
    ]
    measured = {name: one for name, one in figures.items() if name.endswith(ARMS[-1]) or name == "voting"}
    others: dict[str, Mapping[str, Measured]] = {}
    for name, other in (contrast or {}).items():
        votes = _ballots(other, name)
        both = [problem for problem in shared if problem in votes]
        if not both:
            raise ValueError(f"The contrast {name!r} has no problem in common with the base; use the same problems.")
        others[name] = _figures(both, _votes(ballots["base"], both, wanted), _votes(votes, both, wanted), wanted)
    return Majority(
        frame=pd.DataFrame(rows),
        voting=figures["voting"].estimate(**options),
        n_problems=len(shared),
        contrasts=beside(measured, others, **options),
        manifest=manifest(measure="samples.majority", ks=wanted.tolist(), contrast=sorted(contrast or {}), **options),
    )


Ballot = tuple[int, tuple[int, ...], int]
"""Of one problem: samples with the right answer, with each wrong one (sorted), without an answer."""


def _ballots(rollouts: Rollouts, whose: str) -> dict[str, Ballot]:
    graded = rollouts.frame.dropna(subset=["correct"])
    if graded.empty:
        raise ValueError(f"The {whose} samples are not graded; run probes.tasks.grade on them first.")
    out = {}
    for problem, part in graded.groupby("problem", sort=True):
        right = part["correct"].astype(bool)
        wrong = part["answer"][~right]
        counts = Counter(_vote(str(one)) for one in wrong.dropna())
        out[str(problem)] = (int(right.sum()), tuple(sorted(counts.values())), int(wrong.isna().sum()))
    return out


def _vote(answer: str) -> object:
    """What an answer votes for: its number, else its text."""
    value = as_number(answer)
    return answer.strip() if value is None else value


def _size(ballot: Ballot) -> int:
    return ballot[0] + sum(ballot[1]) + ballot[2]


def _wanted(ks: Sequence[int] | None, most: int) -> np.ndarray:
    top = min(most, LARGEST)
    wanted = np.array(sorted(set(ks)) if ks is not None else sorted({2**at for at in range(top.bit_length())} | {top}))
    if not len(wanted) or wanted.min() < 1 or wanted.max() > most:
        raise ValueError(
            f"k must lie between 1 and {most}, the fewest samples of a problem; {wanted.tolist()} does not."
        )
    return wanted


def _votes(ballots: Mapping[str, Ballot], problems: Sequence[str], ks: np.ndarray) -> np.ndarray:
    """A row a problem, columns of one vote and of each k; NaN where there are fewer samples. Equal ones count once."""
    counted = {one: maj_at_ks(*one, np.r_[1, ks]) for one in {ballots[name] for name in problems}}
    return np.stack([counted[ballots[name]] for name in problems])


def _name(k: int, arm: str) -> str:
    return f"maj@{k}, {arm}"


def _figures(problems: list[str], base: np.ndarray, rl: np.ndarray, ks: np.ndarray) -> dict[str, Measured]:
    """Every value and difference; the first column of both tables is that of one vote, which is pass@1."""
    out = {}
    for place, k in enumerate(ks.tolist(), start=1):
        table = np.stack([base[:, place], rl[:, place]], axis=1)
        out[_name(k, "base")] = Measured.of_means(problems, table, lambda one, other: one)
        out[_name(k, "rl")] = Measured.of_means(problems, table, lambda one, other: other)
        out[_name(k, "rl - base")] = Measured.of_means(problems, table, lambda one, other: other - one)
    table = np.stack([base[:, -1], rl[:, 0]], axis=1)
    return out | {"voting": Measured.of_means(problems, table, lambda one, other: one - other)}
