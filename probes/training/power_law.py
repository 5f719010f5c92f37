r"""The rival of the sigmoid: loss falls as a power of compute, without a ceiling below one.

.. math:: \log L(X) = E - k \log X, \qquad L = 1 - \mathrm{pass@1}

(arXiv 2509.25300, where k saturates with model size).  Fitted by least squares in logarithms over points with a loss
above zero.  What it does not show: that a power law goes on; it must break where the pass rate nears one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PowerLaw:
    """``k`` and ``E`` of one fit."""

    k: float
    """Exponent: how fast the loss falls."""
    offset: float
    """E, the log loss at one unit of compute."""
    n: int
    """Points with a loss above zero."""

    def at(self, compute: Float[np.ndarray, "point"]) -> Float[np.ndarray, "point"]:
        """The pass rate at each compute."""
        return 1.0 - np.exp(self.offset - self.k * np.log(compute))


def fit_power_law(compute: Float[np.ndarray, "point"], score: Float[np.ndarray, "point"]) -> PowerLaw:
    """Fit a power law to points with compute above zero; NaN with fewer than two points below a pass rate of one.

    It does not show a ceiling, which this form has not.
    """
    known = score < 1
    k, offset = power_laws(compute[known], score[known][None, :])
    return PowerLaw(float(k[0]), float(offset[0]), int(known.sum()))


def power_laws(
    compute: Float[np.ndarray, "point"], scores: Float[np.ndarray, "draw point"]
) -> tuple[Float[np.ndarray, "draw"], Float[np.ndarray, "draw"]]:
    """``k`` and ``E`` of many data sets at once; NaN for one with a pass rate of one, or of fewer than two points.

    They do not show a ceiling, which this form has not.
    """
    if len(compute) < 2:
        return np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    x = np.log(compute)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(1.0 - scores)
        slope = ((x - x.mean()) * y).sum(axis=1) / np.square(x - x.mean()).sum()
        offset = y.mean(axis=1) - slope * x.mean()
    broken = ~np.isfinite(y).all(axis=1)
    return np.where(broken, np.nan, -slope), np.where(broken, np.nan, offset)
