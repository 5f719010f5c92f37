r"""Where does a series bend?  Two lines that meet, against one, with a p-value that knows the bend was searched for.

.. math:: y = a + b_1 \min(x - \tau, 0) + b_2 \max(x - \tau, 0)

with :math:`\tau` on a grid between the second and the last point but one, by least squares (Hudson 1966; for the bend
that arXiv 2509.03646 reads off its curves by eye).  The gain over one line is
the largest F over :math:`\tau`; its null distribution is simulated with independent normal errors on the same x, which
is exact for such errors whatever their size.  The interval of :math:`\tau` is the wider, on either side, of the profile
(:math:`SSE(\tau) \le SSE_{min}(1 + F_{1,n-4}/(n-4))`) and of the bootstrap over problems.

What it does not show: a corner. A smooth curve is also better told by two lines than by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.stats import f as f_distribution

from hooks.streams import stream
from probes.stats import Estimate, percentile_interval

FEWEST = 6
"""Checkpoints below which no bend is looked for: two lines and a place take four."""
STEPS = 80
"""Places tried."""


@dataclass(frozen=True)
class Bend:
    """Two lines that meet."""

    at: Estimate
    """Where they meet; the value stands whether or not the bend is one."""
    before: Estimate
    """Slope up to there."""
    after: Estimate
    """Slope from there on."""
    p: float
    """Chance of as large a gain over one line where there is one line; NaN with too few points."""


def find_bend(
    x: Float[np.ndarray, "point"],
    y: Float[np.ndarray, "point"],
    *,
    draws: Float[np.ndarray, "draw point"] | None = None,
    n: int = 0,
    level: float = 0.95,
    n_null: int = 1000,
    seed: int = 0,
) -> Bend:
    """Fit two lines that meet.

    Args:
        x: rising.
        y: the series.
        draws: bootstrap draws of the series over problems.
        n: problems behind the draws.
        level: of the intervals.
        n_null: simulated series for the p-value.
        seed: of these.

    Returns:
        all NaN with fewer than six points or a missing one.

    It does not show a corner: a smooth bend is found as well.
    """
    if len(x) < FEWEST or np.isnan(y).any():
        none = Estimate(math.nan, math.nan, math.nan, n, f"needs at least {FEWEST} checkpoints", level)
        return Bend(none, none, none, math.nan)
    at, before, after, sse, line = _fit(x, y[None])
    profile = _profile(x, y, level)
    ends = [percentile_interval(np.full(1, math.nan), n=0)] * 3
    if draws is not None and not np.isnan(draws).any():
        drawn = _fit(x, draws)
        ends = [percentile_interval(drawn[index], n=n, level=level) for index in range(3)]
    low, high = (np.nanmin([profile[0], ends[0].low]), np.nanmax([profile[1], ends[0].high]))
    how = "profile and bootstrap over problems, the wider ends"
    gain = (line - sse) / np.maximum(sse, 1e-300)
    return Bend(
        Estimate(float(at[0]), float(low), float(high), n, how, level),
        Estimate(float(before[0]), ends[1].low, ends[1].high, n, "bootstrap over problems", level),
        Estimate(float(after[0]), ends[2].low, ends[2].high, n, "bootstrap over problems", level),
        0.0 if sse[0] <= 1e-12 * line[0] < line[0] else _p(x, float(gain[0]), n_null, seed),
    )


def slope_after(
    x: Float[np.ndarray, "point"], y: Float[np.ndarray, "draw point"], at: Float[np.ndarray, "draw"]
) -> Float[np.ndarray, "draw"]:
    """Slope of a line through the points from ``at`` on, draw by draw; NaN with fewer than three of them.

    It does not show whether a line fits these points.
    """
    inside = (x[None] >= at[:, None]) & ~np.isnan(y)
    count = inside.sum(axis=1)
    safe = np.maximum(count, 1)
    centred = np.where(inside, x[None] - (np.where(inside, x[None], 0).sum(axis=1) / safe)[:, None], 0.0)
    square = (centred * centred).sum(axis=1)
    slope = (centred * np.where(inside, y, 0.0)).sum(axis=1) / np.where(square > 0, square, 1.0)
    return np.where((count >= 3) & (square > 0), slope, np.nan)


def _places(x: np.ndarray) -> np.ndarray:
    return np.linspace(x[1], x[-2], STEPS)


@lru_cache(maxsize=32)
def _solvers(x: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every place: what gives the three parameters, and what gives the residuals; and the line's residuals."""
    points = np.array(x)
    solve, rest = [], []
    for at in _places(points):
        design = np.stack([np.ones_like(points), np.minimum(points - at, 0), np.maximum(points - at, 0)], axis=1)
        inverse = np.linalg.pinv(design)
        solve.append(inverse)
        rest.append(np.eye(len(points)) - design @ inverse)
    design = np.stack([np.ones_like(points), points], axis=1)
    return np.stack(solve), np.stack(rest), np.eye(len(points)) - design @ np.linalg.pinv(design)


def _squares(x: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares of each series at each place, and of the line."""
    _, rest, line = _solvers(tuple(x.tolist()))
    own = np.stack([np.square(ys @ one.T).sum(axis=1) for one in rest], axis=1)
    return own, np.square(ys @ line.T).sum(axis=1)


def _fit(x: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Place, both slopes, sum of squares and that of one line, for each series."""
    solve, _, _ = _solvers(tuple(x.tolist()))
    squares, line = _squares(x, ys)
    best = squares.argmin(axis=1)
    parameters = np.einsum("dpn,dn->dp", solve[best], ys)
    return _places(x)[best], parameters[:, 1], parameters[:, 2], squares[np.arange(len(ys)), best], line


def _profile(x: np.ndarray, y: np.ndarray, level: float) -> tuple[float, float]:
    squares = _squares(x, y[None])[0][0]
    freedom = len(x) - 4
    bar = squares.min() * (1 + f_distribution.ppf(level, 1, freedom) / freedom)
    inside = _places(x)[squares <= bar * (1 + 1e-9) + 1e-300]
    return float(inside.min()), float(inside.max())


def _p(x: np.ndarray, gain: float, n_null: int, seed: int) -> float:
    """Share of straight noisy series whose gain is as large; the observed one counts among them."""
    return float((1 + (_null(tuple(x.tolist()), n_null, seed) >= gain).sum()) / (1 + n_null))


@lru_cache(maxsize=32)
def _null(x: tuple[float, ...], n_null: int, seed: int) -> np.ndarray:
    noise = stream(seed, "bend", len(x)).normal(size=(n_null, len(x)))
    squares, line = _squares(np.array(x), noise)
    least = squares.min(axis=1)
    return np.asarray((line - least) / least)
