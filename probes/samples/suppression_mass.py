r"""How much probability went from wrong texts to right ones, told from the base's samples alone?

With weights :math:`w(y) = \pi_{RL}(y) / \pi_{base}(y)` of the base's own samples, averaged within problems and then
over them, the RL model's mass on right texts is the self-normalised estimate

.. math:: \hat M_{RL} = \frac{\mathrm{E}[w(y)\,1[y\ right]]}{\mathrm{E}[w(y)]}, \qquad
          n_{eff} = \frac{(\sum w)^2}{\sum w^2},

where :math:`\mathrm{E}[w]` has expectation 1. It is trusted only where enough samples carry the weight (``n_eff``)
*and* the mean weight is near 1: where RL writes what the base never drew, all weights are small, the effective size
looks fine and the estimate is worthless; and where it is far above 1 the weights are not those of these samples. From
the masses follow the log-ratios of the two classes, :math:`\log M_{RL}(right) / M_{base}(right)` and the same of wrong
texts.

The new-mass check looks from the other side: the share of the RL model's own samples that the base finds less than
``negligible`` times as likely. On such texts the base's total mass is below ``negligible`` times the RL model's.

Assumes samples drawn without a nucleus and scored at their temperature; otherwise the weights are wrong, which a mean
weight far from 1 may show. It does not show what lies outside the support of both samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from probes.stats import SHARE
from probes.stats.bootstrap import Statistic
from probes.stats.contrast import Measured

MIN_EFFECTIVE = 30.0
"""Effective samples, over all problems, below which importance weights are refused."""
MIN_COVERED = 0.5
"""Mean weight below which they are refused: the base's samples miss more than half of what RL writes."""
MAX_COVERED = 2.0
"""Mean weight above which they are refused: no coverage brings it over 1, so the weights themselves are wrong."""
NEGLIGIBLE = 1e-3
"""A text counts as new if the base finds it less than this times as likely as the RL model does."""


@dataclass(frozen=True)
class Mass:
    """What the weights of the base's samples say, and whether they can be trusted."""

    problems: tuple[str, ...]
    table: Float[np.ndarray, "problem 3"]
    """Of each problem the base's share of right texts, the mean weight and the mean weight on right texts; weights are
    relative to the largest of all, which cancels in every ratio."""
    largest: float
    """Logarithm of the largest weight."""
    effective: float
    """Effective number of samples over all problems."""
    n_texts: int
    """Samples in all."""

    @property
    def covered(self) -> float:
        """The mean weight: 1 where the base's samples cover what RL writes."""
        return float(self.table[:, 1].mean()) * math.exp(min(self.largest, 700.0))

    def refusal(
        self,
        *,
        min_effective: int | float = MIN_EFFECTIVE,
        min_covered: float = MIN_COVERED,
        max_covered: float = MAX_COVERED,
    ) -> str:
        """Why the weights cannot be trusted, in words; empty where they can."""
        if self.covered < min_covered:
            return f"refused: the base's samples cover {self.covered:.2g} of what RL writes, less than {min_covered:g}"
        if self.effective < min_effective:
            return f"refused: {self.effective:.1f} effective samples of {self.n_texts}, fewer than {min_effective:g}"
        # After the effective samples: a few heavy weights may push the mean up by chance.
        if self.covered > max_covered:
            return (
                f"refused: the mean weight is {self.covered:.2g}, above {max_covered:g}, though it cannot expect more "
                "than 1; the samples were probably scored at another temperature than they were drawn at"
            )
        return ""

    def measured(self, statistic: Statistic) -> Measured:
        """A function of (base's mass on right texts, RL's mass on them), both over all problems."""

        def of_means(right: np.ndarray, weight: np.ndarray, weighted: np.ndarray) -> np.ndarray:
            # Rounding may push a mass a hair above one where every heavy text is right.
            return np.asarray(statistic(right, np.clip(weighted / weight, 0.0, 1.0)))

        return Measured.of_means(self.problems, self.table, of_means)


def weighed(texts: pd.DataFrame) -> Mass:
    """The importance weights of the base's samples.

    Args:
        texts: the base's samples, see :func:`probes.samples.suppression_texts.scored_texts`.

    It does not show mass on texts that the base did not draw.
    """
    ratio = (texts["logp_rl"] - texts["logp_base"]).to_numpy(dtype=float)
    right = texts["correct"].to_numpy(dtype=float)
    weight = np.exp(ratio - ratio.max())
    columns = pd.DataFrame({"right": right, "weight": weight, "weighted": weight * right})
    names = texts["problem"].astype(str).to_numpy()
    means = columns.groupby(names, sort=True).mean()
    # Every problem counts the same, however many samples it has.
    share = weight / pd.Series(names).map(pd.Series(names).value_counts()).to_numpy(dtype=float)
    return Mass(
        problems=tuple(str(name) for name in means.index),
        table=means.to_numpy(dtype=float),
        largest=float(ratio.max()),
        effective=float(share.sum() ** 2 / (share @ share)),
        n_texts=len(texts),
    )


def new_mass(texts: pd.DataFrame, *, negligible: float = NEGLIGIBLE) -> dict[str, Measured]:
    """Share of the RL model's samples that are new to the base, and the same among its right ones.

    Args:
        texts: the RL model's samples under both models.
        negligible: ratio below which a text is new.

    Returns:
        ``new mass`` and ``new mass, right``, means over problems.

    It does not show that a text of negligible probability holds a new idea; one unlikely token suffices.
    """
    new = ((texts["logp_base"] - texts["logp_rl"]) < math.log(negligible)).astype(float)
    out = {}
    for name, kept in (("new mass", texts["correct"] >= 0), ("new mass, right", texts["correct"] == 1)):
        means = new[kept].groupby(texts.loc[kept, "problem"], sort=True).mean()
        share = means.to_numpy(dtype=float)[:, None]
        out[name] = Measured.of_means([str(one) for one in means.index], share, within=SHARE)
    return out
