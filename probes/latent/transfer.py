"""Does a probe made on the base still read the RL model?  The same weights, the same text, the other model's stream.

A logistic probe is fitted on the base's activations of half of the problems and reads the other half twice: from the
base's activations and from the RL model's, at the same tokens.  ``rl_minus_base`` is the paired difference of the two
AUROCs (within folds, see :mod:`probes.latent.ranking`), its interval from resampling problems.

A low reading of the RL model can mean that the strategy is gone or only that it is written elsewhere; a high one does
not show that either model uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from hooks.sites import Site
from probes.latent.labels import Labels, label_table
from probes.latent.logistic import logistic_path
from probes.latent.matrix import whole
from probes.latent.ranking import Wins, assess_difference
from probes.latent.splits import grouped_folds
from probes.results import Result, manifest
from probes.stats.problems import problem_codes


@dataclass(frozen=True, repr=False, eq=False)
class Transfer(Result):
    """Base-made probes, read on both models."""

    frame: pd.DataFrame
    """A row a site and label: ``base_auroc``, ``rl_auroc``, ``rl_minus_base`` with ``low``, ``high`` and one-sided
    ``p`` that the RL model is read better."""


def transfer(
    base: Mapping[str, Any],
    rl: Mapping[str, Any],
    labels: Labels,
    *,
    sites: Sequence[str | Site] | None = None,
    C: float = 0.1,
    folds: int = 2,
    n_boot: int = 1000,
    seed: int = 0,
) -> Transfer:
    """Fit on the base, read on both.

    Args:
        base: activations of the base, with their table ``rows``.
        rl: activations of the RL model at the same rows.
        labels: see :data:`probes.latent.labels.Labels`.
        sites: which; all by default.
        C: inverse strength, on standardised columns.
        folds: parts of the problems; each is read by a probe made on the others.
        n_boot: bootstrap draws over problems.
        seed: of folds and draws.

    Raises:
        ValueError: when the two models' rows differ.
    """
    rows: pd.DataFrame = base.rows  # type: ignore[attr-defined]
    if len(rl.rows) != len(rows):  # type: ignore[attr-defined]
        raise ValueError("base and RL activations have different rows; capture both from the same texts and positions")
    names, values = label_table(labels, len(rows))
    codes = problem_codes(rows["problem"], len(rows))[1]
    parts = grouped_folds(rows["problem"], folds=folds, seed=seed)
    table = []
    for site in [str(one) for one in (sites if sites is not None else base)]:
        both = [whole(side[site]).float().numpy() for side in (base, rl)]
        for name, label in zip(names, values, strict=True):
            own, other = (Wins.of(scores, label, codes, parts) for scores in _read(both, label, parts, C))
            apart = assess_difference(own, other, n_boot=n_boot, seed=seed)
            found = apart.estimate
            table.append(
                {
                    "site": site, "label": name, "base_auroc": own.value, "rl_auroc": other.value,
                    "rl_minus_base": found.value, "low": found.low, "high": found.high, "p": apart.p,
                }
            )  # fmt: skip
    made = manifest(what="transfer", C=C, folds=folds, n_boot=n_boot, seed=seed)
    return Transfer(pd.DataFrame(table), manifest=made)


def _read(
    both: list[Float[np.ndarray, "row d"]],
    label: Float[np.ndarray, "row"],
    parts: Int[np.ndarray, "row"],
    C: float,
) -> list[Float[np.ndarray, "row"]]:
    """Held-out scores of base and RL rows under probes made on base rows; NaN where a fold cannot be read."""
    scores = [np.full(len(label), np.nan) for _ in both]
    known = ~np.isnan(label)
    for part in np.unique(parts):
        train, test = known & (parts != part), known & (parts == part)
        positive = label[train] > 0
        if not test.any() or positive.all() or not positive.any():
            continue
        mean, spread = both[0][train].mean(0), both[0][train].std(0)
        spread[spread == 0] = 1.0
        fitted = logistic_path((both[0][train] - mean) / spread, positive, C=[C])
        for out, rows in zip(scores, both, strict=True):
            out[test] = fitted.decision_function((rows[test] - mean) / spread)[0]
    return scores
