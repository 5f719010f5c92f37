r"""Did texts collapse to a few tokens along training?  Mean length, smoothed over checkpoints, against the start.

.. math:: \bar L_0 = L_0, \qquad \bar L_t = \alpha L_t + (1 - \alpha) \bar L_{t-1}

with the mean over problems of the mean length of a problem's texts. The length has collapsed at the first checkpoint at
which :math:`\bar L_t` is below 0.3 of the start. arXiv 2605.28388 reports 510.7 tokens falling to 45.7 within 58 steps
where a bare box was rewarded, before accuracy fell; bar and smoothing are ours. Intervals resample problems, the same
draw for all checkpoints.

What it does not show: whether short texts are worse; accuracy belongs beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.stats import Estimate, bootstrap_weights, percentile_interval, problem_means
from probes.stats.contrast import Measured, beside

COLLAPSED = 0.3
"""Share of the first length below which it has collapsed."""
ALPHA = 0.5
"""Weight of the newest checkpoint in the smoothed length."""


@dataclass(frozen=True, repr=False, eq=False)
class LengthCollapse(Result):
    """Lengths of the texts of several checkpoints."""

    frame: pd.DataFrame
    """A row a step: ``step``, ``tokens``, ``smoothed``, ``relative`` (smoothed over the first), each with ``_low`` and
    ``_high``."""
    collapse: Estimate | None
    """The first step whose relative length is below the bar; None where there is none."""
    note: str
    """The same in words."""
    contrasts: pd.DataFrame | None = None
    """Length at the end over that at the start in each contrast's run and ours minus it, see
    :data:`probes.stats.contrast.COLUMNS`; None without any."""

    def headline(self) -> str:
        """What became of the length."""
        first, last = self.frame.iloc[0], self.frame.iloc[-1]
        return f"{self.note}; {first['tokens']:.1f} tokens at first, {last['tokens']:.1f} at last"

    def plot(self) -> go.Figure:
        """Length over the steps, as it is and smoothed."""
        figure = go.Figure()
        for name in ("tokens", "smoothed"):
            rows = self.frame
            bars = {
                "type": "data", "symmetric": False,
                "array": list(rows[f"{name}_high"] - rows[name]), "arrayminus": list(rows[name] - rows[f"{name}_low"]),
            }  # fmt: skip
            figure.add_trace(
                go.Scatter(x=list(rows["step"]), y=list(rows[name]), error_y=bars, mode="lines+markers", name=name)
            )
        return figure.update_layout(
            template="plotly_white", xaxis={"title": "step"}, yaxis={"title": "tokens a text", "rangemode": "tozero"},
            title=self.note,
        )  # fmt: skip


def length_collapse(
    series: Mapping[int | float, Rollouts],
    *,
    alpha: int | float = ALPHA,
    collapsed: int | float = COLLAPSED,
    contrast: Mapping[str, Mapping[int | float, Rollouts]] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> LengthCollapse:
    """Smoothed mean length along a run, and when it fell below a share of the start.

    Args:
        series: rollouts of the same problems by training step; texts without ids count in characters.
        alpha: weight of the newest checkpoint, above 0 and at most 1.
        collapsed: share of the first length below which it has collapsed.
        contrast: series of other runs from the same base by name ("random reward", "SFT").
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: fewer than two checkpoints, no problem that all have, or an alpha that is no weight.

    It does not show why texts became short.
    """
    if len(series) < 2 or not 0 < alpha <= 1:
        raise ValueError(f"Lengths need >= 2 checkpoints and 0 < alpha <= 1, not {len(series)} and {alpha}.")
    names, steps, table = _lengths(series)
    n = len(table)
    if not n:
        raise ValueError("The checkpoints have no problem in common; compare texts of the same problems.")
    seen, drawn = table.mean(axis=0)[None], bootstrap_weights(n, n_boot=n_boot, seed=seed) @ table / n
    rows: list[dict[str, float]] = [{"step": step} for step in steps]
    for name, value, draws in zip(
        ("tokens", "smoothed", "relative"), _three(seen, alpha), _three(drawn, alpha), strict=True
    ):
        for at, row in enumerate(rows):
            inside = percentile_interval(draws[:, at], n=n, level=level)
            row |= {name: float(value[0, at]), f"{name}_low": inside.low, f"{name}_high": inside.high}
    first = float(_first(_three(seen, alpha)[2], steps, collapsed)[0])
    inside = percentile_interval(_first(_three(drawn, alpha)[2], steps, collapsed), n=n, level=level)
    found = Estimate(first, inside.low, inside.high, n, "paired bootstrap over problems", level)
    contrasts = None
    if contrast:
        others = {name: _ends(*_lengths(run)) for name, run in contrast.items()}
        contrasts = beside(_ends(names, steps, table), others, n_boot=n_boot, level=level, seed=seed)
    return LengthCollapse(
        frame=pd.DataFrame(rows),
        collapse=found if math.isfinite(first) else None,
        note=f"length below {collapsed:.0%} of the start at step {found:.0f}"
        if math.isfinite(first)
        else f"no collapse of length: never below {collapsed:.0%} of the start",
        contrasts=contrasts,
        manifest=manifest(
            measure="samples.length_collapse", alpha=alpha, collapsed=collapsed, n_boot=n_boot, level=level, seed=seed,
            contrast=sorted(contrast or {}),
        ),
    )  # fmt: skip


def _lengths(
    series: Mapping[int | float, Rollouts],
) -> tuple[list[str], list[int | float], Float[np.ndarray, "problem step"]]:
    """Mean lengths of the problems that all checkpoints have, with the problems and the steps."""
    steps = sorted(series)
    columns = []
    for step in steps:
        frame = series[step].frame
        lengths = [len(ids) or len(text) for ids, text in zip(frame["ids"], frame["text"], strict=True)]
        names, means = problem_means(lengths, frame["problem"])
        columns.append(pd.Series(means, index=names, name=step))
    table = pd.concat(columns, axis=1, join="inner")
    return [str(name) for name in table.index], steps, table.to_numpy(dtype=float)


def _ends(
    problems: list[str], steps: list[int | float], table: Float[np.ndarray, "problem step"]
) -> dict[str, Measured]:
    """Mean length of the last checkpoint over that of the first, not smoothed: runs may have other steps between."""
    return {"last length over the first": Measured.of_means(problems, table[:, [0, -1]], lambda one, end: end / one)}


def _three(
    lengths: Float[np.ndarray, "draw step"], alpha: float
) -> tuple[Float[np.ndarray, "draw step"], Float[np.ndarray, "draw step"], Float[np.ndarray, "draw step"]]:
    """Lengths, smoothed lengths, and these over the first."""
    smoothed = lengths.copy()
    for at in range(1, lengths.shape[1]):
        smoothed[:, at] = alpha * lengths[:, at] + (1 - alpha) * smoothed[:, at - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return lengths, smoothed, smoothed / smoothed[:, :1]


def _first(relative: Float[np.ndarray, "draw step"], steps: list[int | float], bar: float) -> Float[np.ndarray, "draw"]:
    below = relative < bar
    return np.where(below.any(axis=1), np.array(steps, dtype=float)[below.argmax(axis=1)], np.inf)
