"""Does a short run predict a long one?  The sigmoid with its interval, its rival, and what both say of the rest.

The pass rate of one run at a series of checkpoints is fitted by the sigmoid of :mod:`probes.training.sigmoid`
(arXiv 2510.13786) and by the power law of :mod:`probes.training.power_law` (arXiv 2509.25300).  Both are then fitted to
the first half of the compute and asked for the rest; "no change", the last value carried on, stands beside them.  The
window of the fit is moved, since a ceiling that moves with it was not there (published margin: 0.02).

"Not identified" is an answer: where the profile interval of the asymptote reaches 1, where the curve does not rise (F
test on three parameters, which is mild about the search), or where the interval over problems reaches 1.

Assumes one recipe along the whole run and the same held-out problems at every checkpoint.  What it does not show: that
another recipe would have another ceiling; one run has one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.stats import f as f_distribution

from probes.results import Result, manifest
from probes.stats import SHARE, Column, Estimate, as_floats, bootstrap_weights, percentile_interval
from probes.training.forecast import FORMS, forecast, half_of
from probes.training.sigmoid import Reference, SigmoidFit, fit_sigmoid, grid_tops
from probes.training.windows import FEWEST, Window, moved_windows


@dataclass(frozen=True, repr=False, eq=False)
class Scaling(Result):
    """A sigmoid fitted along one run, what it foresaw, and its rivals."""

    frame: pd.DataFrame
    """A row a form (sigmoid, power law, no change): ``error_end`` (predicted minus measured pass rate at the largest
    compute, from the first half), ``error_largest``, ``error_rms``, each with ends, and ``fitted`` and ``foreseen``
    points."""
    points: pd.DataFrame
    """A row a checkpoint: ``compute``, ``score`` with ends, ``used``, and the curves ``sigmoid``, ``power law`` and
    ``sigmoid of the first half``."""
    windows: pd.DataFrame
    """A row a window of the fit: ``first``, ``last`` (compute), ``points``, ``A`` with ends, ``B``, ``C_mid``,
    ``identified``, ``moved`` (A minus the main fit's)."""
    top: Estimate
    """A with its profile interval; NaN in value where the curve does not rise."""
    top_over_problems: Estimate
    """A with the bootstrap interval over problems; NaN without a table of problems."""
    slope: Estimate
    """B with its profile interval."""
    middle: Estimate
    """C_mid with its profile interval."""
    start: float
    """R_0, taken as it is."""
    identified: bool
    """Whether the asymptote is identified."""
    note: str
    """Why not, or the words that it is."""
    rise_p: float
    """p-value of the rise over the start."""
    moved: float
    """Largest change of A between windows; NaN with one window."""
    ahead_of_rival: Estimate
    """Root mean square held-out error of the power law minus the sigmoid's; above zero the sigmoid foresaw better."""
    unit: str
    """What the compute is counted in."""

    def headline(self) -> str:
        """The asymptote or why there is none, and the held-out error."""
        said = f"asymptote {self.top:.3f}, B {self.slope:.2f}" if self.identified else "asymptote not identified"
        row = self.frame.set_index("form").loc["sigmoid"]
        foreseen = row["error_end"]
        ahead = f"; twice the compute foreseen within {abs(foreseen):.3f}" if foreseen == foreseen else ""
        return f"{said} ({self.note}){ahead}; {int(self.points['used'].sum())} points"

    def plot(self) -> go.Figure:
        """Points and curves over log compute, and the interval of the asymptote where it is identified."""
        figure = go.Figure()
        shown = self.points[self.points["compute"] > 0]
        bars = {
            "type": "data", "symmetric": False, "array": list(shown["high"] - shown["score"]),
            "arrayminus": list(shown["score"] - shown["low"]),
        }  # fmt: skip
        x = list(shown["compute"])
        figure.add_trace(go.Scatter(x=x, y=list(shown["score"]), error_y=bars, mode="markers", name="measured"))
        dashes = {"sigmoid": "solid", "sigmoid of the first half": "dash", "power law": "dot"}
        for name, dash in dashes.items():
            figure.add_trace(go.Scatter(x=x, y=list(shown[name]), mode="lines", name=name, line={"dash": dash}))
        if self.identified:
            figure.add_hrect(y0=self.top.low, y1=self.top.high, line_width=0, fillcolor="#6B7280", opacity=0.15)
        figure.add_hline(y=self.start, line_dash="dot", line_color="#6B7280", annotation_text="start")
        return figure.update_layout(
            template="plotly_white", xaxis={"type": "log", "title": self.unit}, yaxis={"title": "pass rate"},
            title=self.headline(),
        )  # fmt: skip


def scaling(
    compute: Column,
    score: Column | Float[np.ndarray, "problem point"],
    *,
    start: float | None = None,
    window: Window | None = None,
    windows: Sequence[Window] | None = None,
    reference: Reference = "chi2",
    unit: str = "compute",
    n_boot: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Scaling:
    """Fit a run's pass rate over compute.

    Args:
        compute: spent at each checkpoint: GPU-hours, or anything that rises with them (steps x tokens). Zero is the
            start: it gives R_0 and is no point of the fit.
        score: pass rate at each checkpoint, or a table (problem, checkpoint) of pass rates, which also gives intervals
            over problems; a problem with a missing entry is left out.
        start: R_0; the score at compute zero by default.
        window: least and largest compute of the main fit.
        windows: windows that the fit is moved through; by default up to two points less at either end.
        reference: ``chi2`` as published, or ``F``, which allows for few points.
        unit: of the compute, for the plot.
        n_boot: bootstrap draws over problems.
        level: of all intervals.
        seed: of the draws.

    Raises:
        ValueError: unequal lengths, negative compute, no start, or fewer than five points above zero in the window.

    It does not show what a different recipe would reach.
    """
    x = as_floats(compute)
    table, y = _table(score, len(x))
    known = ~np.isnan(x) & ~np.isnan(y)
    if (x[known] < 0).any():
        raise ValueError(f"compute is {x[known].min():g} at some checkpoint; it counts from zero at the start")
    zero = known & (x == 0)
    if start is None and not zero.any():
        raise ValueError("no checkpoint has compute 0, so R_0 is unknown; give start=, the pass rate before training")
    first = float(y[zero].mean()) if start is None else float(start)
    low, high = window or (0.0, math.inf)
    used = known & (x > 0) & (x >= low) & (x <= high)
    if used.sum() < FEWEST:
        raise ValueError(f"{int(used.sum())} points above compute 0 in the window; a sigmoid needs at least {FEWEST}")
    drawn = _Draws.of(table, zero if start is None else None, first, n_boot, seed)
    fit = fit_sigmoid(x[used], y[used], start=first, level=level, reference=reference)
    return _result(
        x, y, used, first, fit, drawn, moved_windows(x, y, used, first, windows, fit, level, reference),
        level=level, unit=unit,
        record=manifest(measure="training.scaling", window=[low, high], reference=reference, n_boot=n_boot,
                        level=level, seed=seed, unit=unit),
    )  # fmt: skip


def _table(score: Any, n: int) -> tuple[np.ndarray | None, np.ndarray]:
    """The table of problems, if there is one, and the mean at each checkpoint."""
    if isinstance(score, np.ndarray) and score.ndim == 2:
        table = np.asarray(score, dtype=float)
        table = table[~np.isnan(table).any(axis=1)]
        if table.shape[1] != n or not len(table):
            raise ValueError(f"{table.shape[1]} columns of {len(table)} whole problems for {n} checkpoints; give all")
        return table, table.mean(axis=0)
    values = as_floats(score)
    if len(values) != n:
        raise ValueError(f"{len(values)} scores for {n} checkpoints; give one score a checkpoint")
    return None, values


@dataclass(frozen=True)
class _Draws:
    """Bootstrap draws of the whole curve over problems, and of its start."""

    scores: Float[np.ndarray, "draw point"]
    starts: Float[np.ndarray, "draw"]
    problems: int

    @classmethod
    def of(
        cls, table: np.ndarray | None, zero: np.ndarray | None, start: float, n_boot: int, seed: int
    ) -> _Draws | None:
        if table is None or len(table) < 2:
            return None
        scores = bootstrap_weights(len(table), n_boot=n_boot, seed=seed, label="scaling") @ table / len(table)
        starts = np.full(len(scores), start) if zero is None else scores[:, zero].mean(axis=1)
        return cls(scores, starts, len(table))

    def estimate(self, value: float, draws: np.ndarray, level: float) -> Estimate:
        ends = percentile_interval(draws, n=self.problems, level=level)
        return Estimate(
            value, ends.low, ends.high, self.problems, f"bootstrap over problems, {len(draws)} draws", level
        )


def _result(
    x: np.ndarray, y: np.ndarray, used: np.ndarray, start: float, fit: SigmoidFit, drawn: _Draws | None,
    windows: pd.DataFrame, *, level: float, unit: str, record: Mapping[str, Any],
) -> Scaling:  # fmt: skip
    n = int(used.sum())
    over = Estimate(math.nan, math.nan, math.nan, 0, "one run: no table of problems", level)
    if drawn is not None:
        tops = grid_tops(x[used], drawn.scores[:, used], drawn.starts, x[used])[0]
        over = drawn.estimate(fit.top, tops, level)
    rise = _rise_p(y[used] - start, fit.sse)
    identified, note = _judged(fit, over, rise, level)
    method = "profile of the sum of squares"
    value = math.nan if rise > 1 - level else 1.0
    foreseen = forecast(x, y, used, start, level=level, drawn=None if drawn is None else (drawn.scores, drawn.starts))
    return Scaling(
        frame=foreseen.frame,
        points=_points(x, y, used, start, fit, drawn, level),
        windows=windows,
        top=Estimate(value * fit.top, *fit.top_ends, n, method, level),
        top_over_problems=over,
        slope=Estimate(value * fit.slope, *fit.slope_ends, n, method, level),
        middle=Estimate(value * fit.middle, *fit.middle_ends, n, method, level),
        start=start,
        identified=identified,
        note=note,
        rise_p=rise,
        moved=float(windows["moved"].abs().max()) if len(windows) > 1 else math.nan,
        ahead_of_rival=foreseen.ahead,
        unit=unit,
        manifest=record,
    )  # fmt: skip


def _rise_p(rise: np.ndarray, sse: float) -> float:
    """F test of three parameters against the start carried on; 1 where the curve does not rise at all."""
    n, flat = len(rise), float(rise @ rise)
    if flat <= sse or flat == 0:
        return 1.0
    if sse <= 1e-12 * flat:
        return 0.0
    return float(f_distribution.sf((flat - sse) / 3 / (sse / (n - 3)), 3, n - 3))


def _judged(fit: SigmoidFit, over: Estimate, rise: float, level: float) -> tuple[bool, str]:
    """Whether the asymptote is identified, and the words for it."""
    if rise > 1 - level:
        return False, f"the curve does not rise over its start of {fit.start:.3f} (p = {rise:.2f})"
    if fit.top_ends[1] >= 1 - 1e-6:
        return False, f"its interval reaches 1 from {fit.top_ends[0]:.3f}"
    if over.interval.known and over.high >= 1 - 1e-6:
        return False, f"over problems its interval reaches 1 from {over.low:.3f}"
    return True, f"between {fit.top_ends[0]:.3f} and {fit.top_ends[1]:.3f}"


def _points(
    x: np.ndarray, y: np.ndarray, used: np.ndarray, start: float, fit: SigmoidFit, drawn: _Draws | None, level: float
) -> pd.DataFrame:
    """All checkpoints with intervals over problems and the fitted curves; a curve has no value at compute zero."""
    ends = [(math.nan, math.nan)] * len(x)
    if drawn is not None:
        found = [percentile_interval(column, n=drawn.problems, level=level, within=SHARE) for column in drawn.scores.T]
        ends = [(one.low, one.high) for one in found]
    columns: dict[str, Any] = {
        "compute": x, "score": y, "low": [low for low, _ in ends], "high": [high for _, high in ends], "used": used,
    }  # fmt: skip
    above = x > 0
    half = half_of(x, used)
    curves = {"sigmoid": (fit.at, used), "power law": (FORMS["power law"](x[used], y[used], start), used)}
    if half.sum() >= FEWEST:
        curves["sigmoid of the first half"] = (FORMS["sigmoid"](x[half], y[half], start), half)
    for name in ("sigmoid", "power law", "sigmoid of the first half"):
        values = np.full(len(x), math.nan)
        if name in curves:
            values[above] = curves[name][0](x[above])
        columns[name] = values
    return pd.DataFrame(columns).sort_values("compute", kind="stable").reset_index(drop=True)
