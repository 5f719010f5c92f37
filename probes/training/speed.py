r"""How soon is a gain there?  Steps until a run has most of the accuracy that it ends with.

For a run with accuracy :math:`R_0` at the start and :math:`R_T` at the last checkpoint, the step at which a curve that
never falls reaches :math:`R_0 + q (R_T - R_0)`, between checkpoints on a straight line, for q = 1/2 and 9/10.  The
curve is the least-squares rising one through the checkpoints (isotonic regression, Barlow and Brunk 1972), so that one
lucky checkpoint is no arrival.  Two runs over the same problems are compared by the ratio of their steps, problems
resampled together: what a reward that keeps variety (as that of arXiv 2602.06717) costs in speed.  A measure of this
package.

A run whose gain cannot be told from zero arrives nowhere, and its steps are NaN.  Each run is held against its own end:
beside a lower end a sooner arrival is no merit, so the ends stand in the table.  What it does not show: steps between
two checkpoints any finer than a straight line, nor the spread between two runs of one recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from probes.results import Result, manifest
from probes.stats import GAP, SHARE, Estimate, bootstrap_weights, percentile_interval
from probes.training.series import Checkpoint, Series

SHARES = (0.5, 0.9)
"""Shares of the final gain whose arrival is told."""


@dataclass(frozen=True, repr=False, eq=False)
class Speed(Result):
    """When each run had what part of its gain."""

    frame: pd.DataFrame
    """A row a run and share: ``run``, ``share``, ``steps`` with ends, ``gain`` and ``end`` (accuracy) with ends, and
    ``ratio``: steps over those of the first run, with ends; NaN for the first."""
    curves: pd.DataFrame
    """A row a run and checkpoint: ``run``, ``step``, ``accuracy`` with ends."""
    problems: int

    def headline(self) -> str:
        """Steps to the largest share, run by run."""
        most = self.frame[self.frame["share"] == self.frame["share"].max()]
        told = [
            f"{row.run}: {row.share:.0%} of a gain of {100 * row.gain:+.1f} points after {row.steps:.3g} steps "
            f"[{row.steps_low:.3g}, {row.steps_high:.3g}]"
            if not math.isnan(row.steps)
            else f"{row.run}: no gain to wait for"
            for row in most.itertuples()
        ]
        return f"{'; '.join(told)} ({self.problems} problems)"

    def plot(self) -> go.Figure:
        """Accuracy along the steps, and where each share is reached."""
        figure = go.Figure()
        for run, own in self.curves.groupby("run", sort=False):
            bars = {
                "type": "data", "symmetric": False, "array": list(own["accuracy_high"] - own["accuracy"]),
                "arrayminus": list(own["accuracy"] - own["accuracy_low"]),
            }  # fmt: skip
            trace = go.Scatter(x=list(own["step"]), y=list(own["accuracy"]), error_y=bars, mode="lines+markers")
            figure.add_trace(trace.update(name=str(run)))
        for row in self.frame.dropna(subset=["steps"]).itertuples():
            figure.add_vline(x=row.steps, line_dash="dot", annotation_text=f"{row.run}: {row.share:.0%}")
        return figure.update_layout(
            template="plotly_white", title="How soon the gain is there", xaxis_title="step", yaxis_title="accuracy"
        )


def speed(
    runs: Sequence[Checkpoint] | Series | Mapping[str, Sequence[Checkpoint] | Series],
    *,
    shares: Sequence[float] = SHARES,
    n_boot: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Speed:
    """Steps until a share of the final gain is there.

    Args:
        runs: the checkpoints of one run, start first; or several runs by name, the first of which the others are held
            against, over the problems that all of them have.
        shares: of the final gain, above 0 and up to 1.
        n_boot: bootstrap draws over problems.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: what :meth:`Series.of` refuses, a share outside (0, 1], no run, or runs without a common problem.

    It does not show how another run of the same recipe would do.
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares of a gain lie above 0 and up to 1, not {list(shares)}")
    named = runs if isinstance(runs, Mapping) else {"run": runs}
    series = {name: one if isinstance(one, Series) else Series.of(one) for name, one in named.items()}
    tables, problems = _common(series)
    weights = np.ones((1, problems))
    if problems > 1:
        drawn = bootstrap_weights(problems, n_boot=n_boot, seed=seed, label="speed")
        weights = np.concatenate([weights, drawn])
    first: dict[float, np.ndarray] = {}
    rows, points = [], []
    for name, table in tables.items():
        steps, scores = series[name].steps, weights @ table / problems
        gain = _estimate(scores[:, -1] - scores[:, 0], problems, level, GAP)
        end = _estimate(scores[:, -1], problems, level, SHARE)
        known = gain.interval.known and gain.low > 0
        curves = rising(scores) if known else scores
        for share in shares:
            at = arrivals(steps, curves, share) if known else np.full(len(scores), math.nan)
            first.setdefault(share, at)
            held = at / first[share] if at is not first[share] else np.full(len(at), math.nan)
            found = {
                "steps": _estimate(at, problems, level), "gain": gain, "end": end,
                "ratio": _estimate(held, problems, level),
            }  # fmt: skip
            rows.append({"run": name, "share": share} | _columns(found))
        points += [
            {"run": name, "step": float(step)} | _columns({"accuracy": _estimate(column, problems, level, SHARE)})
            for step, column in zip(steps, scores.T, strict=True)
        ]
    made = manifest(measure="training.speed", shares=list(shares), n_boot=n_boot, level=level, seed=seed)
    return Speed(pd.DataFrame(rows), pd.DataFrame(points), problems, manifest=made)


def rising(scores: Float[np.ndarray, "draw checkpoint"]) -> Float[np.ndarray, "draw checkpoint"]:
    """For each row the curve that never falls and is nearest to it in squares; it does not show a fall."""
    from scipy.optimize import isotonic_regression

    return np.stack([isotonic_regression(row).x for row in scores])


def arrivals(
    steps: Float[np.ndarray, "checkpoint"], curves: Float[np.ndarray, "draw checkpoint"], share: float
) -> Float[np.ndarray, "draw"]:
    """The step at which each curve, which never falls, has ``share`` of its gain; NaN without a gain.

    It does not show where between two checkpoints the gain came.
    """
    gain = curves[:, -1] - curves[:, 0]
    goal = curves[:, 0] + share * gain
    after = np.maximum(1, (curves < goal[:, None] - 1e-12).sum(axis=1))
    after = np.minimum(after, len(steps) - 1)
    rows = np.arange(len(curves))
    low, high = curves[rows, after - 1], curves[rows, after]
    part = np.divide(goal - low, high - low, out=np.ones(len(curves)), where=high > low)
    found = steps[after - 1] + (steps[after] - steps[after - 1]) * np.clip(part, 0.0, 1.0)
    return np.where(gain > 0, found, np.nan)


def _common(series: Mapping[str, Series]) -> tuple[dict[str, np.ndarray], int]:
    """Accuracies of the problems that every run has and graded at every checkpoint."""
    if not series:
        raise ValueError("there is no run; give the checkpoints of at least one")
    tables = {name: pd.DataFrame(one.accuracy(), index=list(one.problems)).dropna() for name, one in series.items()}
    common = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    if not common:
        raise ValueError("the runs have no graded problem in common; grade samples of the same problems in each")
    return {name: table.loc[common].to_numpy() for name, table in tables.items()}, len(common)


def _estimate(values: np.ndarray, problems: int, level: float, within: tuple[float, float] | None = None) -> Estimate:
    draws = values[1:] if len(values) > 1 else np.full(1, math.nan)
    ends = percentile_interval(draws, n=problems, level=level, within=within)
    return Estimate(float(values[0]), ends.low, ends.high, problems, "bootstrap over problems", level)


def _columns(found: Mapping[str, Estimate]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, one in found.items():
        out |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return out
