r"""Recovery against the share of routed tokens: how few places carry how much of the gain?

Each point is one mixed run. The curve joins the exact point (0, 0), where no gate opens and the base writes alone, with
the measured points in order of their dose, the mean number of tokens a text that they route. (Not in order of their
share: a gate that opens a little further may lengthen the texts, and its share falls while its dose rises.) Summaries:

* area: :math:`\int_0^1 R(s)\,ds` by trapezoids, closed at (1, 1) where the RL model writes everything; 0.5 is a gain
  spread evenly over the tokens, 1 one that a vanishing share of them carries;
* share needed: the share at which the joined line first reaches a target such as 0.9; None where no measured point
  does. The closing point (1, 1) is not used, so a target that was never measured is never claimed.

Intervals resample problems, the same draws for all points (they are paired); a draw that never reaches the target
counts as infinite. Definitions after arXiv 2603.22446. Assumes that points differ only in their gate. It does not show
what happens between the points, nor that the places found are the only ones that would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.routing.paired import Paired, pair_up
from probes.routing.recovery import Recovery, of_paired
from probes.stats import Estimate, bootstrap_weights, percentile_interval

Axis = Literal["routed", "effective"]


@dataclass(frozen=True, repr=False, eq=False)
class RecoveryCurve(Result):
    """Recovery of several gates or thresholds against the share of tokens they route."""

    points: Mapping[str, Recovery]
    """The curve's points by name."""
    controls: Mapping[str, Recovery]
    """Runs to be shown beside the curve and not joined to it."""
    area: Estimate
    """Area under recovery against routed share."""
    needed: Mapping[float, Estimate | None]
    """Routed share needed for a target recovery; None where no point reaches it, or where there is no gain."""
    least: Mapping[float, float]
    """Lower end of the interval of that share, also where no point reaches the target; NaN without a gain."""

    @property
    def frame(self) -> pd.DataFrame:
        """A row a run: arm, kind, recovery with interval, routed and effective share, accuracy, tokens."""
        rows = []
        for kind, runs in (("point", self.points), ("control", self.controls)):
            rows += [{"arm": name, "kind": kind, **row_of(run)} for name, run in runs.items()]
        return pd.DataFrame(rows)

    def headline(self) -> str:
        """Area and shares needed in a sentence."""
        if not self.area.measured:
            return f"No recovery curve: {self.area.method}"
        parts = [
            f"{target:.0%} of the gain needs {value:.1%} of tokens"
            if value is not None
            else f"{target:.0%} never reached"
            for target, value in self.needed.items()
        ]
        return f"Area under recovery {self.area:.2f}; {'; '.join(parts)}"

    def plot(self) -> go.Figure:
        """Recovery against routed share with intervals; controls as open marks, base and RL as lines."""
        return draw(self.frame.assign(line=lambda table: np.where(table["kind"] == "point", "gate", "")))


def curve(
    *,
    base: Rollouts,
    rl: Rollouts,
    mixed: Mapping[str, Rollouts],
    controls: Mapping[str, Rollouts] | None = None,
    targets: tuple[float, ...] = (0.5, 0.9),
    axis: Axis = "routed",
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> RecoveryCurve:
    """Recovery over several mixed runs of the same problems.

    Args:
        base: graded texts of the base.
        rl: graded texts of the RL model.
        mixed: graded mixed texts by name (of the threshold, say); they need a record of their gate.
        controls: further mixed texts, shown beside the curve.
        targets: recoveries for which the share needed is asked.
        axis: ``routed`` (gate open) or ``effective`` (gate open and another token).
        n_boot: bootstrap draws.
        level: of all intervals.
        seed: of the draws.

    Raises:
        ValueError: no mixed run, one without a record of its gate, or arms without a common graded problem.

    It does not show that fewer places than the gate's would not have been enough.
    """
    extra = dict(controls or {})
    if not mixed:
        raise ValueError("A curve needs at least one mixed run.")
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    made = manifest(measure="routing.curve", axis=axis, targets=list(targets), **options)
    arms = {f"mixed {name}": rollouts for name, rollouts in (dict(mixed) | extra).items()}
    paired = pair_up({"base": base, "rl": rl, **arms})
    runs = {
        name: of_paired(paired, f"mixed {name}", manifest=made, **options)
        for name in (*mixed, *(name for name in extra if name not in mixed))
    }
    points = {name: runs[name] for name in mixed}
    area, needed, least = summarise(paired, [f"mixed {name}" for name in mixed], targets=targets, axis=axis, **options)
    return RecoveryCurve(points, {name: runs[name] for name in extra}, area, needed, least, manifest=made)


def row_of(run: Recovery) -> dict[str, Any]:
    """A recovery as the columns of a table of arms."""
    share = run.estimate
    row: dict[str, Any] = {"accuracy": run.accuracy["mixed"].value, "recovery": share.value}
    row |= {"low": share.low if share.measured else np.nan, "high": share.high if share.measured else np.nan}
    row |= {"accuracy_low": run.accuracy["mixed"].low, "accuracy_high": run.accuracy["mixed"].high}
    for name, value in (("routed", run.routed), ("effective", run.effective)):
        row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    return row | {"tokens": run.length["mixed"].value, "problems": run.n_problems}


def summarise(
    paired: Paired, arms: list[str], *, targets: tuple[float, ...], axis: Axis, n_boot: int, level: float, seed: int
) -> tuple[Estimate, dict[float, Estimate | None], dict[float, float]]:
    """Area, shares needed and their lower ends, by paired bootstrap; undefined where there is no gain to explain."""
    counts = paired.opened if axis == "routed" else paired.changed
    for arm in arms:
        if np.isnan(counts[arm]).any():
            raise ValueError(f"The texts of {arm} carry no record of a gate, so they have no place on the curve.")
    n = len(paired.problems)
    first = of_paired(paired, arms[0], manifest={}, n_boot=1, level=level, seed=seed)
    if first.ratio is None:
        nothing = Estimate(np.nan, np.nan, np.nan, n, first.reason, level)
        return nothing, dict.fromkeys(targets), dict.fromkeys(targets, np.nan)
    draws = bootstrap_weights(n, n_boot=n_boot, seed=seed).astype(float)
    weights = np.concatenate([np.ones((1, n)), draws])
    b, r = weights @ paired.accuracy["base"], weights @ paired.accuracy["rl"]
    with np.errstate(divide="ignore", invalid="ignore"):
        gained = np.stack([(weights @ paired.accuracy[arm] - b) / (r - b) for arm in arms], axis=1)
    shares = np.stack([(weights @ counts[arm]) / (weights @ paired.length[arm]) for arm in arms], axis=1)
    doses = np.stack([weights @ counts[arm] for arm in arms], axis=1)
    order = np.argsort(doses, axis=1, kind="stable")
    x = np.pad(np.take_along_axis(shares, order, axis=1), ((0, 0), (1, 0)))
    y = np.pad(np.take_along_axis(gained, order, axis=1), ((0, 0), (1, 0)))
    method = f"paired bootstrap over problems, {n_boot} draws"
    areas = area_under(x, y)
    inside = percentile_interval(areas[1:], n=n, level=level)
    area = Estimate(float(areas[0]), inside.low, inside.high, n, method, level)
    needed: dict[float, Estimate | None] = {}
    least: dict[float, float] = {}
    for target in targets:
        reach = share_needed(x, y, target)
        band = percentile_interval(reach[1:], n=n, level=level)
        found = np.isfinite(reach[0])
        needed[target] = Estimate(float(reach[0]), band.low, band.high, n, method, level) if found else None
        least[target] = band.low
    return area, needed, least


def area_under(
    shares: Float[np.ndarray, "draw point"], recoveries: Float[np.ndarray, "draw point"]
) -> Float[np.ndarray, "draw"]:
    """Trapezoid area from 0 to 1 under points in order of their dose, closed at (1, 1)."""
    x = np.pad(shares, ((0, 0), (0, 1)), constant_values=1.0)
    y = np.pad(recoveries, ((0, 0), (0, 1)), constant_values=1.0)
    return np.asarray((np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1]) / 2).sum(axis=1))


def share_needed(
    shares: Float[np.ndarray, "draw point"], recoveries: Float[np.ndarray, "draw point"], target: float
) -> Float[np.ndarray, "draw"]:
    """The share at which the line through points in order of their dose first reaches ``target``; infinite if never."""
    out = np.full(len(shares), np.inf)
    for place in range(recoveries.shape[1] - 1, 0, -1):
        left, right = recoveries[:, place - 1], recoveries[:, place]
        crosses = (left < target) & (right >= target)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (target - left) / (right - left)
            at = shares[:, place - 1] + step * (shares[:, place] - shares[:, place - 1])
        out = np.where(crosses, at, out)
    return np.where(recoveries[:, 0] >= target, shares[:, 0], out)


def draw(table: pd.DataFrame) -> go.Figure:
    """Recovery against routed share: rows with one ``line`` are joined, rows with none are open marks.

    Where there is no ratio the accuracies are drawn instead, which exist all the same.
    """
    ratio = bool(table["recovery"].notna().any())
    value, low, high = ("recovery", "low", "high") if ratio else ("accuracy", "accuracy_low", "accuracy_high")
    figure = go.Figure()
    dose = (table["routed"] * table["tokens"]).rename("dose")
    for line, rows in table.assign(dose=dose).sort_values("dose").groupby("line", sort=False):
        joined = line != ""
        figure.add_trace(
            go.Scatter(
                x=list(rows["routed"]), y=list(rows[value]), text=list(rows["arm"]), name=str(line) or "controls",
                mode="lines+markers" if joined else "markers",
                marker={"symbol": "circle" if joined else "diamond-open", "size": 9},
                hovertemplate="%{text}<br>routed %{x:.2%}<br>" + value + " %{y:.3f}<extra></extra>",
                error_x=_bars(rows, "routed", "routed_low", "routed_high"),
                error_y=_bars(rows, value, low, high),
            )
        )  # fmt: skip
    if ratio:
        for height, name in ((0.0, "base"), (1.0, "RL")):
            figure.add_hline(y=height, line_dash="dot", line_color="#95a5a6", annotation_text=name)
    return figure.update_layout(
        template="plotly_white",
        xaxis={"title": "share of tokens with the gate open", "tickformat": ".0%"},
        yaxis={"title": "share of the gain recovered" if ratio else "accuracy (there is no gain to explain)"},
    )


def _bars(rows: pd.DataFrame, value: str, low: str, high: str) -> dict[str, Any]:
    """Error bars between the ends of an interval; an end that is not known has no bar."""
    up, down = (rows[high] - rows[value]).clip(lower=0), (rows[value] - rows[low]).clip(lower=0)
    finite = np.isfinite(up.to_numpy(dtype=float)) & np.isfinite(down.to_numpy(dtype=float))
    return {
        "type": "data", "symmetric": False, "thickness": 1,
        "array": list(np.where(finite, up, np.nan)), "arrayminus": list(np.where(finite, down, np.nan)),
    }  # fmt: skip
