r"""Which problems can each model solve, and how surely?  Solvable sets, their overlap, the histogram of accuracies.

With the chance :math:`p_i` (base) and :math:`q_i` (RL) that one of ``k`` samples of problem ``i`` is right, the four
cells are the means of :math:`p q`, :math:`p (1 - q)`, :math:`(1 - p) q` and :math:`(1 - p)(1 - q)`; where ``k`` is the
number of samples drawn they are the observed shares. The overlap is the Jaccard index: both over all that either
solves. The histogram has a bin for accuracies of exactly 0, then ten of width 0.1, each closed on the right (arXiv
2504.13837). Intervals resample problems.

What it does not show: that a problem outside a set cannot be solved; more tries may solve it. A problem that only the
RL model solves should be tried again with more samples of the base before anything is made of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from probes.stats import SHARE, Estimate, bootstrap_weights, percentile_interval
from probes.stats.bootstrap import bootstrap_table

CELLS = ("both", "base only", "RL only", "neither")
SELDOM = 0.05
"""Accuracy below which right samples may be guesses, as in arXiv 2504.13837."""
EDGES = tuple(round(0.1 * step, 1) for step in range(11))
"""Upper and lower edges of the histogram's bins; a first bin holds exactly 0."""


def solvable(
    base: Float[np.ndarray, "problem"], rl: Float[np.ndarray, "problem"], **options: Any
) -> tuple[pd.DataFrame, Estimate]:
    """Expected shares of the four cells when each model has the same number of tries, and the Jaccard index.

    Args:
        base: chance that the base solves each problem within k tries.
        rl: the same of the RL model.
        **options: ``n_boot``, ``level``, ``seed`` of the intervals.

    Returns:
        a row a cell (``cell``, ``share``, ``low``, ``high``, ``problems``), and the index, which rests on the problems
        that either may solve; NaN where there is none.

    It does not show what more tries would solve.
    """
    cells = dict(zip(CELLS, (base * rl, base * (1 - rl), rl * (1 - base), (1 - base) * (1 - rl)), strict=True))
    rows = []
    for cell, values in cells.items():
        share = bootstrap_table(values[:, None], within=SHARE, **options)
        rows.append(
            {"cell": cell, "share": share.value, "low": share.low, "high": share.high, "problems": float(values.sum())}
        )
    table = np.stack([cells[cell] for cell in CELLS[:3]], axis=1)
    # Problems that neither solves are no part of the index: 60 of them would make an overlap of 4 look sure.
    either = table[table.sum(axis=1) > 0]
    index = bootstrap_table(either, lambda both, one, other: both / (both + one + other), within=SHARE, **options)
    return pd.DataFrame(rows), index


def to_check(counts: pd.DataFrame, *, seldom: float = SELDOM) -> pd.DataFrame:
    """Problems whose place among the solved ones rests on little: to be tried again, or their texts read.

    Args:
        counts: ``problem``, ``c_base``, ``n_base``, ``c_rl``, ``n_rl``.
        seldom: accuracy below which the right samples of a model may be guesses.

    Returns:
        a row a problem and reason: ``problem``, ``why`` (``RL only``: give the base more samples; ``base only``: the
        same for the RL model; ``seldom right``: read the texts that were), ``model`` (whose), ``c``, ``n``.

    arXiv 2504.13837 checks chains of thought by hand where fewer than 5 % of the samples are right. It does not show
    which of them are guesses.
    """
    rows = []
    for row in counts.itertuples():
        own = {model: (int(getattr(row, f"c_{model}")), int(getattr(row, f"n_{model}"))) for model in ("base", "rl")}
        for model, other, why in (("base", "rl", "RL only"), ("rl", "base", "base only")):
            if own[model][0] == 0 < own[other][0]:
                rows.append((row.problem, why, model, *own[model]))
        for model, (c, n) in own.items():
            if 0 < c < seldom * n:
                rows.append((row.problem, "seldom right", model, c, n))
    return pd.DataFrame(rows, columns=["problem", "why", "model", "c", "n"])


def histogram(
    base: Float[np.ndarray, "problem"],
    rl: Float[np.ndarray, "problem"],
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """How many problems have which accuracy: a row a model and bin, ``(above, upto]``; the first bin is exactly 0.

    Columns: ``model``, ``above`` (NaN for the bin of 0), ``upto``, ``share``, ``low``, ``high``, ``problems``.

    It does not show the problems' true accuracies: with few samples a bin also holds its neighbours' noise.
    """
    n = len(base)
    weights = bootstrap_weights(n, n_boot=n_boot, seed=seed) / n
    rows = []
    for model, accuracy in (("base", base), ("rl", rl)):
        # Ten times a share such as 0.3 may come out a hair above 3: such a share belongs below its edge.
        bins = np.ceil(10 * accuracy - 1e-9).astype(int)
        inside = bins[:, None] == np.arange(11)
        for place in range(11):
            ends = percentile_interval(weights @ inside[:, place].astype(float), n=n, level=level, within=SHARE)
            above = np.nan if place == 0 else EDGES[place - 1]
            held = int(inside[:, place].sum())
            rows.append((model, above, EDGES[place], held / n, ends.low, ends.high, held))
    return pd.DataFrame(rows, columns=["model", "above", "upto", "share", "low", "high", "problems"])


def histogram_plot(frame: pd.DataFrame) -> go.Figure:
    """The histogram of both models side by side, with intervals."""
    figure = go.Figure()
    for model, name, colour in (("base", "base", "rgb(127,140,141)"), ("rl", "RL", "rgb(36,113,163)")):
        rows = frame[frame["model"] == model]
        names = [
            "0" if above != above else f"{above:.1f}–{upto:.1f}" for above, upto in zip(rows["above"], rows["upto"])
        ]
        bars = {
            "type": "data", "symmetric": False,
            "array": list(rows["high"] - rows["share"]), "arrayminus": list(rows["share"] - rows["low"]),
        }  # fmt: skip
        figure.add_bar(x=names, y=list(rows["share"]), error_y=bars, name=name, marker_color=colour)
    return figure.update_layout(
        template="plotly_white", barmode="group", xaxis_title="accuracy on a problem (right / samples)",
        yaxis_title="share of problems",
    )  # fmt: skip
