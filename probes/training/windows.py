"""The same fit in other windows of compute: a ceiling that moves with the window was not there (arXiv 2510.13786).

It does not show which window is right; an early regime may well be another curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from probes.training.sigmoid import Reference, SigmoidFit, fit_sigmoid

Window = tuple[int | float, int | float]
"""Least and largest compute of a fit."""
FEWEST = 5
"""Points above C = 0 below which nothing is fitted."""


def moved_windows(
    x: Float[np.ndarray, "point"],
    y: Float[np.ndarray, "point"],
    used: Bool[np.ndarray, "point"],
    start: float,
    windows: Sequence[Window] | None,
    main: SigmoidFit,
    level: float,
    reference: Reference,
) -> pd.DataFrame:
    """The fit in each window, by default with up to two points less at either end; NaN in one with too few points.

    Args:
        x: compute of each point.
        y: pass rate.
        used: points of the main fit.
        start: R_0.
        windows: least and largest compute of each.
        main: the main fit, whose asymptote the others are held against.
        level: of the profile intervals.
        reference: see :func:`probes.training.sigmoid.fit_sigmoid`.

    They do not show which window is right.
    """
    if windows is None:
        inside = np.sort(x[used])
        ends = [(left, right) for left in range(3) for right in range(3) if len(inside) - left - right >= FEWEST]
        windows = list(dict.fromkeys((float(inside[a]), float(inside[len(inside) - 1 - b])) for a, b in ends))
    rows = []
    for low, high in windows:
        held = ~np.isnan(x) & ~np.isnan(y) & (x > 0) & (x >= low) & (x <= high)
        row: dict[str, Any] = {"first": low, "last": high, "points": int(held.sum())}
        if held.sum() >= FEWEST:
            fit = fit_sigmoid(x[held], y[held], start=start, level=level, reference=reference)
            row |= {
                "A": fit.top, "A_low": fit.top_ends[0], "A_high": fit.top_ends[1], "B": fit.slope, "C_mid": fit.middle,
                "identified": fit.top_ends[1] < 1 - 1e-6, "moved": fit.top - main.top,
            }  # fmt: skip
        rows.append(row)
    columns = ["first", "last", "points", "A", "A_low", "A_high", "B", "C_mid", "identified", "moved"]
    return pd.DataFrame(rows, columns=columns).astype({"identified": "boolean"})
