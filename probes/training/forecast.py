"""What the first half of a run says of the second: three forms fitted to the same points, asked for the same rest.

The protocol of arXiv 2510.13786: fit up to half of the compute, predict up to all of it, report the error at the end
and the largest on the way, in pass rate.  "No change" carries the last fitted value on; a form that does not beat it
has foreseen nothing.  Intervals resample problems, all checkpoints of a problem together; a size of an error (largest,
root mean square) is drawn too large by that, so the signed error at the end is the one to judge by.

What it does not show: errors beyond the compute that was spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from probes.stats import Estimate, percentile_interval
from probes.training.power_law import fit_power_law, power_laws
from probes.training.sigmoid import fit_sigmoid, grid_tops

FEWEST = 4
"""Points in the first half below which nothing is foreseen."""

Curve = Callable[[np.ndarray], np.ndarray]


def _sigmoid(compute: np.ndarray, score: np.ndarray, start: float) -> Curve:
    return fit_sigmoid(compute, score, start=start, intervals=False).at


def _power_law(compute: np.ndarray, score: np.ndarray, start: float) -> Curve:
    return fit_power_law(compute, score).at


def _no_change(compute: np.ndarray, score: np.ndarray, start: float) -> Curve:
    last = float(score[compute.argmax()])
    return lambda at: np.full(len(at), last)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray, float], Curve]] = {
    "sigmoid": _sigmoid,
    "power law": _power_law,
    "no change": _no_change,
}
"""Forms by name; each takes compute, score and start, and gives the fitted curve."""


@dataclass(frozen=True)
class Forecast:
    """Errors of each form on the second half, and the sigmoid's lead over the power law."""

    frame: pd.DataFrame
    ahead: Estimate


def half_of(compute: Float[np.ndarray, "point"], used: Bool[np.ndarray, "point"]) -> Bool[np.ndarray, "point"]:
    """The points of a fit that lie within half of its largest compute."""
    return used & (compute <= compute[used].max() / 2)


def forecast(
    compute: Float[np.ndarray, "point"],
    score: Float[np.ndarray, "point"],
    used: Bool[np.ndarray, "point"],
    start: float,
    *,
    level: float = 0.95,
    drawn: tuple[Float[np.ndarray, "draw point"], Float[np.ndarray, "draw"]] | None = None,
) -> Forecast:
    """Fit each form to the first half and compare it with the second.

    Args:
        compute: of each point.
        score: pass rate.
        used: points that the fit may use.
        start: R_0.
        level: of the intervals.
        drawn: bootstrap draws of all points and of the start; without them the errors are those of one run.

    Returns:
        errors of each form; all NaN where the first half holds fewer than four points or the second none.

    It does not show errors beyond the compute that was spent.
    """
    early = half_of(compute, used)
    late = used & ~early
    names = ("error_end", "error_largest", "error_rms")
    rows = []
    sizes: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for form, make in FORMS.items():
        row: dict[str, object] = {"form": form, "fitted": int(early.sum()), "foreseen": int(late.sum())}
        row |= {f"{name}{end}": math.nan for name in names for end in ("", "_low", "_high")}
        if early.sum() >= FEWEST and late.any():
            values = _errors(
                make(compute[early], score[early], start)(compute[late])[None], score[late][None], compute[late]
            )
            row |= {name: float(values[name][0]) for name in names}
            sizes[form] = (values["error_rms"], None)
            if drawn is not None:
                draws = _errors(_drawn(form, compute, early, late, *drawn), drawn[0][:, late], compute[late])
                sizes[form] = (values["error_rms"], draws["error_rms"])
                for name in names:
                    ends = percentile_interval(draws[name], n=len(draws[name]), level=level)
                    row |= {f"{name}_low": ends.low, f"{name}_high": ends.high}
        rows.append(row)
    return Forecast(pd.DataFrame(rows), _ahead(sizes, int(late.sum()), level))


def _errors(predicted: np.ndarray, measured: np.ndarray, compute: np.ndarray) -> dict[str, np.ndarray]:
    gap = predicted - measured
    return {
        "error_end": gap[:, compute.argmax()],
        "error_largest": np.abs(gap).max(axis=1),
        "error_rms": np.sqrt(np.square(gap).mean(axis=1)),
    }


def _drawn(
    form: str, compute: np.ndarray, early: np.ndarray, late: np.ndarray, scores: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """The prediction of every draw."""
    at = compute[late]
    if form == "sigmoid":
        return grid_tops(compute[early], scores[:, early], starts, at)[1]
    if form == "power law":
        k, offset = power_laws(compute[early], scores[:, early])
        return 1.0 - np.exp(offset[:, None] - k[:, None] * np.log(at))
    return np.repeat(scores[:, early][:, [int(compute[early].argmax())]], len(at), axis=1)


def _ahead(sizes: dict[str, tuple[np.ndarray, np.ndarray | None]], n: int, level: float) -> Estimate:
    """Error of the power law minus that of the sigmoid, draw by draw."""
    if not {"sigmoid", "power law"} <= set(sizes):
        return Estimate(math.nan, math.nan, math.nan, n, "too few points in either half", level)
    (own, own_draws), (rival, rival_draws) = sizes["sigmoid"], sizes["power law"]
    value = float(rival[0] - own[0])
    if own_draws is None or rival_draws is None:
        return Estimate(value, math.nan, math.nan, n, "one run: no table of problems", level)
    ends = percentile_interval(rival_draws - own_draws, n=len(own_draws), level=level)
    return Estimate(value, ends.low, ends.high, n, f"bootstrap over problems, {len(own_draws)} draws", level)
