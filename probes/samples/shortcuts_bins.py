r"""By how hard a problem was for the base: the change of a sign in each bin, for the pair and for every contrast.

With :math:`w_i` the chance that problem ``i`` falls into a bin and :math:`b_i` that chance times the base's mean on
the samples that did not choose it (:mod:`probes.samples.hardness`), the RL model's mean :math:`r_i` gives

.. math:: \text{base} = \frac{\sum_i b_i}{\sum_i w_i}, \qquad \text{RL} - \text{base} =
          \frac{\sum_i (w_i r_i - b_i)}{\sum_i w_i}, \qquad \text{RL} - \text{contrast} =
          \frac{\sum_i w_i (r_i - r'_i)}{\sum_i w_i},

where the base cancels. The question is that of arXiv 2605.28388. A bin of 60 problems holds some 15, and few of them
deviate at all, so that intervals are those of :mod:`probes.stats.weighted`; percentiles of a bootstrap would call up to
13 % of unchanged models changed instead of 5.

Assumes both models' samples drawn alike. It does not show bins in which fewer than five problems are expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from probes.samples.hardness import NAMES, Bins, bin_weights, held_out
from probes.stats import GAP, Estimate, problem_means, wilson
from probes.stats.contrast import COLUMNS, Measured
from probes.stats.weighted import weighted_mean

BIN_COLUMNS = ("bin", "problems", "quantity", "arm", "value", "low", "high", "n")
FEWEST = 5
"""Expected problems below which a bin has no figure."""
OF_BINS = ("degenerate", "bare answer", "accuracy")
"""Quantities that stand by difficulty; all are shares."""

Tables = dict[str, pd.DataFrame]
"""Signs of the texts of ``base`` and ``rl``."""


def by_bin(tables: Tables, bins: Bins, options: Mapping[str, Any]) -> pd.DataFrame:
    """A row a bin, quantity and arm: the base on samples that did not choose the bin, the RL model on all of its own.

    It does not show bins in which fewer than five problems are expected: their values are missing.
    """
    level = float(options["level"])
    rows = []
    for quantity in OF_BINS:
        parts = _Parts.of(tables, quantity, bins)
        for place, name in enumerate(NAMES):
            inside, base = parts.weight[:, place], parts.base[:, place]
            rl = inside * parts.rl
            few = inside.sum() < FEWEST
            for arm, (part, least) in {"base": (base, 0.0), "rl": (rl, 0.0), "rl - base": (rl - base, -1.0)}.items():
                # Both models on the same problems, so that the difference is that of the two arms.
                weight = np.where(np.isnan(rl), math.nan, inside)
                found = weighted_mean(part, weight, within=(least, 1.0), level=level)
                if few:
                    found = nothing(level, f"fewer than {FEWEST} problems are expected in the bin")
                rows.append((name, inside.sum(), quantity, arm, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=list(BIN_COLUMNS))


def bins_beside(tables: Tables, others: Mapping[str, Tables], bins: Bins, options: Mapping[str, Any]) -> pd.DataFrame:
    """A row a contrast, quantity and bin: its RL minus base and ours minus it (:data:`probes.stats.contrast.COLUMNS`).

    Args:
        tables: signs of the base and the RL model.
        others: by contrast, signs of the same base and of the model after the other training.
        bins: edges of the bins.
        options: ``level`` of the intervals.

    It does not show what made the two trainings differ.
    """
    level, rows = float(options["level"]), []
    for contrast, other in others.items():
        own = by_bin(other, bins, options)
        own = own[own["arm"] == "rl - base"]
        for quantity in OF_BINS:
            ours, theirs = (_Parts.of(one, quantity, bins) for one in (tables, other))
            _, here, there = np.intersect1d(ours.problems, theirs.problems, return_indices=True)
            for place, name in enumerate(NAMES):
                inside = ours.weight[here, place]
                gap = weighted_mean(inside * (ours.rl[here] - theirs.rl[there]), inside, within=GAP, level=level)
                if inside.sum() < FEWEST:
                    gap = nothing(level, f"fewer than {FEWEST} problems are expected in the bin")
                row = own[(own["quantity"] == quantity) & (own["bin"] == name)].iloc[0]
                title = f"{quantity} ({name}), rl - base"
                value, low, high = (float(row[end]) for end in ("value", "low", "high"))
                rows.append((contrast, title, value, low, high, gap.value, gap.low, gap.high, gap.n))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def hard_share(tables: Tables, bins: Bins, options: Mapping[str, Any]) -> Estimate:
    """Share of problems that the base never solves in as many draws as choose a bin.

    It does not show whether more draws would solve them.
    """
    counts = graded_counts(tables)
    hard = bin_weights(counts["size"].to_numpy(), counts["sum"].to_numpy(), bins)[:, NAMES.index("hard")]
    if (hard == 0).all() or (hard == 1).all():
        return wilson(int(hard.sum()), len(hard), level=options["level"])
    return Measured.of_means(list(counts.index), hard[:, None]).estimate(**options)


def graded_counts(tables: Tables) -> pd.DataFrame:
    """Graded samples of the base and how many are right: ``size`` and ``sum``, a row a problem."""
    graded = tables["base"].dropna(subset=["correct"])
    return graded.groupby("problem")["correct"].agg(["size", "sum"]).astype(int)


def nothing(level: float, why: str) -> Estimate:
    """What stands where nothing could be measured."""
    return Estimate(math.nan, math.nan, math.nan, 0, why, level)


@dataclass(frozen=True)
class _Parts:
    """Of each problem the chance of every bin, the base's part of it, and the RL model's mean."""

    problems: list[str]
    weight: Float[np.ndarray, "problem bin"]
    base: Float[np.ndarray, "problem bin"]
    rl: Float[np.ndarray, "problem"]

    @classmethod
    def of(cls, tables: Tables, quantity: str, bins: Bins) -> _Parts:
        graded, counts = tables["base"].dropna(subset=["correct"]), graded_counts(tables)
        n, c = counts["size"].to_numpy(), counts["sum"].to_numpy()
        by_side = (graded[quantity].where(graded["correct"] == side, 0.0) for side in (1, 0))
        right, wrong = (own.groupby(graded["problem"]).sum().to_numpy(dtype=float) for own in by_side)
        names, means = problem_means(tables["rl"][quantity], tables["rl"]["problem"])
        rl = pd.Series(means, index=names).reindex(counts.index).to_numpy(dtype=float)
        problems = [str(name) for name in counts.index]
        return cls(problems, bin_weights(n, c, bins), held_out(n, c, right, wrong, bins), rl)
