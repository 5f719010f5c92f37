r"""Where does a training curve level off?  A sigmoid in compute, fitted so that "cannot be told" is an answer.

.. math:: R(C) = R_0 + \frac{A - R_0}{1 + (C_{mid}/C)^B}

(arXiv 2510.13786).  ``C`` is compute or any rising stand-in for it, ``R_0`` the pass rate at the start and fixed.  For
a given B and C_mid the best A is closed, :math:`A = R_0 + \sum f_j (y_j - R_0) / \sum f_j^2` within [R_0, 1] with
:math:`f_j = 1/(1 + (C_{mid}/C_j)^B)`; so the search runs over a grid of 38 B and 81 C_mid (even in the logarithm) and
is refined by Nelder and Mead.  The interval of A is its profile: all A whose least sum of squares stays within
``q sigma^2`` of the best, :math:`\sigma^2 = SSE/(n-3)`, with q = 3.84 (chi-squared) as published, or the quantile of
F(1, n - 3), which allows for sigma being estimated from few points.

Assumes independent errors of one size around the curve, and R_0 without error.  What it does not show: that the curve
is a sigmoid. With all compute far below C_mid the curve is (A - R_0)(C/C_mid)^B and no data of any precision tell A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import chi2, f

SLOPES = np.linspace(0.3, 4.0, 38)
"""Grid of B; published values run from 1.56 to 2.01."""
MIDDLES = 81
"""Values of C_mid, from a tenth of the least compute to a hundred times the most."""
_LOG_SLOPE = (math.log(0.1), math.log(10.0))
_FINE = (121, 361)
"""Steps of B and C_mid on the dense grid from which their own intervals are read."""

Reference = Literal["chi2", "F"]
"""Distribution that the profile is held against."""


def sigmoid(
    compute: Float[np.ndarray, "point"], *, start: float, top: float, slope: float, middle: float
) -> Float[np.ndarray, "point"]:
    """R(C) at each compute; ``start`` is R_0, ``top`` is A, ``slope`` is B, ``middle`` is C_mid.

    It does not show that any run follows it.
    """
    with np.errstate(divide="ignore"):
        return start + (top - start) * expit(slope * (np.log(compute) - math.log(middle)))


@dataclass(frozen=True)
class SigmoidFit:
    """A fitted curve with the profile intervals of its parameters; an end that nothing bounds is infinite (or 0)."""

    start: float
    top: float
    """A."""
    slope: float
    """B."""
    middle: float
    """C_mid, in units of the compute."""
    sse: float
    n: int
    top_ends: tuple[float, float] = (math.nan, math.nan)
    slope_ends: tuple[float, float] = (math.nan, math.nan)
    middle_ends: tuple[float, float] = (math.nan, math.nan)

    def at(self, compute: Float[np.ndarray, "point"]) -> Float[np.ndarray, "point"]:
        """The curve."""
        return sigmoid(compute, start=self.start, top=self.top, slope=self.slope, middle=self.middle)


class _Curve:
    """The points in the form that every step of the fit uses: log compute and rise over the start."""

    def __init__(self, compute: np.ndarray, score: np.ndarray, start: float) -> None:
        self.log, self.rise, self.start, self.n = np.log(compute), score - start, start, len(compute)
        self.total = float(self.rise @ self.rise)
        self.log_middle = (float(self.log.min()) - math.log(10), float(self.log.max()) + math.log(100))

    def shape(self, slope: np.ndarray | float, log_middle: np.ndarray | float) -> np.ndarray:
        """The shape f of every point under each of the given B and log C_mid."""
        return np.asarray(expit(np.asarray(slope)[..., None] * (self.log - np.asarray(log_middle)[..., None])))

    def heights(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Best A - R_0 for each shape, and the two sums that the sum of squares needs."""
        along, square = np.asarray(shape @ self.rise), np.asarray((shape * shape).sum(axis=-1))
        best = np.divide(along, square, out=np.zeros_like(along), where=square > 1e-300)
        return np.asarray(np.clip(best, 0.0, 1.0 - self.start)), along, square

    def squares(self, shape: np.ndarray, height: float | None = None) -> np.ndarray:
        """Sum of squares of each shape, at the best height or at a given one."""
        best, along, square = self.heights(shape)
        best = best if height is None else np.asarray(height)
        return np.asarray(np.maximum(self.total - 2 * best * along + best * best * square, 0.0))

    def refined(self, slope: float, log_middle: float, height: float | None = None) -> tuple[float, float, float]:
        """Nelder and Mead from a point of the grid: B, log C_mid and the least sum of squares there."""

        def inside(x: np.ndarray) -> tuple[float, float]:
            low, high = self.log_middle
            return float(np.clip(x[0], *_LOG_SLOPE)), float(np.clip(x[1], low - math.log(10), high + math.log(10)))

        def loss(x: np.ndarray) -> float:
            log_slope, middle = inside(x)
            # Beyond its range a parameter costs a little, so that the search comes back instead of drifting.
            away = abs(x[0] - log_slope) + abs(x[1] - middle)
            return float(self.squares(self.shape(math.exp(log_slope), middle), height)) + away * (self.total + 1e-12)

        first = np.array([math.log(slope), log_middle])
        corners = first + np.array([[0.0, 0.0], [0.08, 0.0], [0.0, 0.15]])
        options = {"initial_simplex": corners, "xatol": 1e-5, "fatol": 1e-9 * (self.total + 1e-12), "maxiter": 400}
        found = minimize(loss, first, method="Nelder-Mead", options=options)
        log_slope, middle = inside(found.x)
        return math.exp(log_slope), middle, float(found.fun)

    def zoomed(self, slope: float, log_middle: float, height: float) -> float:
        """Least sum of squares near a point of the grid at one height, by ever finer small grids."""
        centre, reach = np.array([math.log(slope), log_middle]), np.array([0.12, 0.4])
        offsets = np.linspace(-1, 1, 9)
        least = math.inf
        for _ in range(5):
            own = np.clip(centre[0] + reach[0] * offsets, *_LOG_SLOPE)
            other = centre[1] + reach[1] * offsets
            squares = self.squares(self.shape(np.exp(own)[:, None], other[None, :]), height)
            row, column = np.unravel_index(int(squares.argmin()), squares.shape)
            least = min(least, float(squares[row, column]))
            # The grid is moved before it is made finer when its best point lies on its edge.
            edge = row in (0, 8) or column in (0, 8)
            centre, reach = np.array([own[row], other[column]]), reach * (1.0 if edge else 0.3)
        return least


def fit_sigmoid(
    compute: Float[np.ndarray, "point"],
    score: Float[np.ndarray, "point"],
    *,
    start: float,
    level: float = 0.95,
    reference: Reference = "chi2",
    intervals: bool = True,
) -> SigmoidFit:
    """Fit A, B and C_mid to points with compute above zero.

    Args:
        compute: of each point, above zero.
        score: pass rate at each point.
        start: R_0, fixed.
        level: of the profile intervals.
        reference: ``chi2`` as published, or ``F`` for few points.
        intervals: also profile the parameters; without it all ends are NaN.

    Raises:
        ValueError: fewer than four points (three parameters leave no error), compute not above zero, or a start
            outside [0, 1).

    It does not show that the curve is a sigmoid.
    """
    if len(compute) != len(score) or len(compute) < 4:
        raise ValueError(
            f"a sigmoid needs at least 4 points with compute and score, not {len(compute)} and {len(score)}"
        )
    if not (compute > 0).all() or not 0 <= start < 1:
        raise ValueError("compute must be above zero and the start a pass rate in [0, 1); leave the point C = 0 out")
    curve = _Curve(compute, score, start)
    slopes, middles = grid(compute)
    shape = curve.shape(slopes, middles)
    best = int(curve.squares(shape).argmin())
    slope, log_middle, sse = curve.refined(float(slopes[best]), float(middles[best]))
    height = float(curve.heights(curve.shape(slope, log_middle))[0])
    plain = SigmoidFit(start, start + height, slope, math.exp(log_middle), sse, curve.n)
    if not intervals:
        return plain
    bar = sse + max(quantile(curve.n, level, reference) * sse / (curve.n - 3), 1e-10 * curve.total)
    low, high = _top_ends(curve, shape, slopes, middles, height, bar)
    slope_ends, middle_ends = _other_ends(curve, bar, slope, log_middle)
    return SigmoidFit(
        start, start + height, slope, math.exp(log_middle), sse, curve.n,
        (start + low, start + high), slope_ends, middle_ends,
    )  # fmt: skip


def quantile(n: int, level: float, reference: Reference) -> float:
    """How many sigma^2 the sum of squares may rise within the interval of one parameter."""
    return float(chi2.ppf(level, 1) if reference == "chi2" else f.ppf(level, 1, n - 3))


def grid(compute: Float[np.ndarray, "point"]) -> tuple[Shaped[np.ndarray, "pair"], Shaped[np.ndarray, "pair"]]:
    """B and log C_mid of every pair of the grid."""
    low, high = float(np.log(compute.min())) - math.log(10), float(np.log(compute.max())) + math.log(100)
    slopes, middles = np.meshgrid(SLOPES, np.linspace(low, high, MIDDLES), indexing="ij")
    return slopes.ravel(), middles.ravel()


def grid_tops(
    compute: Float[np.ndarray, "point"],
    scores: Float[np.ndarray, "draw point"],
    starts: Float[np.ndarray, "draw"],
    at: Float[np.ndarray, "place"],
) -> tuple[Float[np.ndarray, "draw"], Float[np.ndarray, "draw place"]]:
    """A and the predicted curve of many data sets at once, at the precision of the grid; for bootstrap draws.

    They do not show minima between the points of the grid.
    """
    slopes, middles = grid(compute)
    shape = expit(slopes[:, None] * (np.log(compute) - middles[:, None]))
    square = (shape * shape).sum(axis=1)
    rise = scores - starts[:, None]
    along = shape @ rise.T
    height = np.clip(along / np.maximum(square, 1e-300)[:, None], 0.0, 1.0 - starts)
    # The part of the sum of squares that depends on the shape.
    best = (height * height * square[:, None] - 2 * height * along).argmin(axis=0)
    top = height[best, np.arange(len(scores))]
    ahead = expit(slopes[best][:, None] * (np.log(at) - middles[best][:, None]))
    return starts + top, starts[:, None] + top[:, None] * ahead


def _top_ends(
    curve: _Curve, shape: np.ndarray, slopes: np.ndarray, middles: np.ndarray, best: float, bar: float
) -> tuple[float, float]:
    """Outermost heights A - R_0 whose profile stays under the bar, by steps outwards and then by halving."""
    _, along, square = curve.heights(shape)

    def profile(height: float) -> float:
        squares = curve.total - 2 * height * along + height * height * square
        first = int(squares.argmin())
        if squares[first] <= bar:
            return float(squares[first])
        return curve.zoomed(float(slopes[first]), float(middles[first]), height)

    ends = []
    for limit in (0.0, 1.0 - curve.start):
        steps = np.linspace(best, limit, 41)[1:]
        under = [float(step) for step in steps if profile(float(step)) <= bar]
        inside = under[-1] if under else best
        if inside != limit:
            outside = inside + (limit - best) / 40
            for _ in range(9):
                middle = (inside + outside) / 2
                inside, outside = (middle, outside) if profile(middle) <= bar else (inside, middle)
        ends.append(inside)
    return ends[0], ends[1]


def _other_ends(
    curve: _Curve, bar: float, slope: float, log_middle: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of B and C_mid from a dense grid in logarithms; an end at the edge of the grid is no end."""
    low, high = curve.log_middle
    slopes, middles = np.linspace(*_LOG_SLOPE, _FINE[0]), np.linspace(low, high, _FINE[1])
    squares = curve.squares(curve.shape(np.exp(slopes)[:, None], middles[None, :]))
    found = []
    for values, profile, own in (
        (slopes, squares.min(axis=1), math.log(slope)),
        (middles, squares.min(axis=0), log_middle),
    ):
        inside = np.flatnonzero(profile <= bar)
        if len(inside) == 0:
            found.append((math.exp(own), math.exp(own)))
            continue
        step = values[1] - values[0]
        ends = (min(own, values[inside[0]] - step / 2), max(own, values[inside[-1]] + step / 2))
        found.append(
            (
                0.0 if inside[0] == 0 else math.exp(ends[0]),
                math.inf if inside[-1] == len(values) - 1 else math.exp(ends[1]),
            )
        )
    return found[0], found[1]
