r"""How much of the RL gain comes back when the other model writes only where a gate opens?

.. math:: R = (\bar m - \bar b) / (\bar r - \bar b)

with :math:`\bar b, \bar r, \bar m` the accuracies of base, RL and mixed texts, each the mean over problems of the mean
over a problem's samples. Nothing is clipped: mixed texts can be worse than the base (R < 0) or better than RL (R > 1).
The interval is Fieller's (1954), paired by problem: it holds every R that the data do not refute at the level, and it
widens without bound as the gap shrinks. Where the interval of the gap covers zero there is no gain to explain and no
ratio. Answers are right or wrong, and mixed texts that nearly always score as the RL model differ from it on a handful
of problems; their spread is then known badly, and Student's quantile alone covers too little. The set is therefore
that of problems one of which might half have been off by one sample more: ``1 / (2 samples^2)`` is added to the sum of
squares of the numerator. In simulation over gaps, recoveries and correlations the 95 % interval then covers at least
93 % from 30 problems with one sample on (91 % without), and 93 to 97 % at 100 problems and more except for recoveries
near 0 and 1, where it covers more. Where mixed texts score as one of the two models on *every* problem, the covariance
is zero; the interval then comes from the largest share of differing problems that zero out of n allows,
``1 - ((1 - level) / 2)^(1/n)``.

Definition of the ratio: arXiv 2603.22446 and 2510.07364 (which clips it at zero). Assumes the three arms were decoded
in the same way on the same problems. What it does not show: that the gate alone did it. An open gate brings in the
other model's *token* as well as the choice of the place; controls at the matched rate stand beside it for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy import stats as scipy_stats

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.routing.paired import Paired, pair_up
from probes.stats import Estimate, Interval, ratio

NO_GAIN = "the interval of RL minus base covers zero: there is no gain to explain"
LOSS = "RL is worse than the base here: there is no gain to explain"


@dataclass(frozen=True, repr=False, eq=False)
class Recovery(Result):
    """The recovered share of one gain, with everything it rests on."""

    ratio: float | None
    """(mixed - base) / (RL - base), unclipped; None where there is no gain to explain."""
    interval: Interval | None
    """Of the ratio; None with it."""
    reason: str
    """How the interval was made, or why there is no ratio."""
    gap: Estimate
    """RL minus base, in accuracy."""
    difference: Estimate
    """Mixed minus base, in accuracy."""
    accuracy: Mapping[str, Estimate]
    """Of ``base``, ``rl`` and ``mixed``."""
    length: Mapping[str, Estimate]
    """Mean generated tokens of ``base``, ``rl`` and ``mixed``."""
    routed: Estimate
    """Share of the mixed texts' tokens that were written with the gate open."""
    effective: Estimate
    """Share of tokens with the gate open *and* another token than the primary would have written."""
    n_problems: int
    """Problems that all three arms have."""
    left_out: int
    """Problems left out because an arm lacks them or has no graded sample."""

    @property
    def estimate(self) -> Estimate:
        """The ratio as an estimate; NaN, with the reason as its method, where there is none."""
        if self.ratio is None or self.interval is None:
            return Estimate(np.nan, -np.inf, np.inf, self.n_problems, self.reason)
        return Estimate(
            self.ratio, self.interval.low, self.interval.high, self.n_problems, self.reason, self.interval.level
        )

    @property
    def frame(self) -> pd.DataFrame:
        """A row a quantity: value, interval, number of problems, method."""
        rows: dict[str, Estimate] = {"recovery": self.estimate, "gap": self.gap, "difference": self.difference}
        rows |= {f"accuracy {arm}": value for arm, value in self.accuracy.items()}
        rows |= {f"length {arm}": value for arm, value in self.length.items()}
        rows |= {"routed share": self.routed, "effective share": self.effective}
        return pd.DataFrame([{"quantity": name, **value.as_dict()} for name, value in rows.items()])

    def headline(self) -> str:
        """The finding in a sentence."""
        places = f" with {self.routed:.1%} of tokens routed" if self.routed.measured else ""
        if self.ratio is None:
            return f"No recovery: {self.reason} (gap {self.gap:.3f}, {self.n_problems} problems){places}"
        return f"Recovered {self.estimate:.1%} of the gap {self.gap:.3f}{places}, {self.n_problems} problems"

    def plot(self) -> go.Figure:
        """Accuracy of base, mixed and RL texts with their intervals."""
        arms = ["base", "mixed", "rl"]
        shown = [self.accuracy[arm] for arm in arms]
        figure = go.Figure(
            go.Bar(
                x=arms, y=[value.value for value in shown], marker_color=["#7f8c8d", "#8e44ad", "#2471a3"],
                error_y={
                    "type": "data", "symmetric": False,
                    "array": [value.high - value.value for value in shown],
                    "arrayminus": [value.value - value.low for value in shown],
                },
            )
        )  # fmt: skip
        return figure.update_layout(
            template="plotly_white", title=self.headline(), yaxis={"title": "accuracy", "range": [0, 1.02]}
        )


def recovery(
    *,
    base: Rollouts,
    rl: Rollouts,
    mixed: Rollouts,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Recovery:
    """The share of the RL gain that mixed texts recover, paired over problems.

    Args:
        base: graded texts of the base.
        rl: graded texts of the RL model.
        mixed: graded texts of both, from :func:`hooks.mix.mix` (columns ``gate_open`` and ``changed`` give the shares).
        n_boot: bootstrap draws for accuracies, lengths and shares.
        level: of all intervals, and of the question whether there is a gain.
        seed: of the draws.

    Raises:
        ValueError: an arm that is not graded, or no problem in common.

    It does not show what single positions contribute, nor that fewer tokens would not have done.
    """
    paired = pair_up({"base": base, "rl": rl, "mixed": mixed})
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    return of_paired(paired, "mixed", manifest=manifest(measure="routing.recovery", **options), **options)


def of_paired(
    paired: Paired, arm: str, *, manifest: Mapping[str, Any], n_boot: int, level: float, seed: int
) -> Recovery:
    """The recovery of one arm of a table that is already lined up."""
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    b, r, m = (paired.accuracy[name] for name in ("base", "rl", arm))
    share = recovered(b, r, m, samples=paired.samples, level=level)
    names = {"base": "base", "rl": "rl", "mixed": arm}
    return Recovery(
        ratio=share.value if share.measured else None,
        interval=share.interval if share.measured else None,
        reason=share.method,
        gap=mean_difference(b, r, level=level),
        difference=mean_difference(b, m, level=level),
        accuracy={shown: paired.mean(paired.accuracy[name], **options) for shown, name in names.items()},
        length={shown: paired.mean(paired.length[name], **options) for shown, name in names.items()},
        routed=paired.share(paired.opened[arm], paired.length[arm], **options),
        effective=paired.share(paired.changed[arm], paired.length[arm], **options),
        n_problems=len(paired.problems),
        left_out=paired.left_out,
        manifest=manifest,
    )


def mean_difference(
    first: Float[np.ndarray, "problem"], second: Float[np.ndarray, "problem"], *, level: float = 0.95
) -> Estimate:
    """Mean of ``second - first`` over problems with Student's interval: the very test that decides about a ratio.

    It does not show differences on single problems.
    """
    differences = second - first
    n = len(differences)
    value = float(differences.mean())
    if n < 2:
        return Estimate(value, np.nan, np.nan, n, "fewer than two problems", level)
    half = float(scipy_stats.t.ppf((1 + level) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return Estimate(value, value - half, value + half, n, "Student, paired by problem", level)


def recovered(
    base: Float[np.ndarray, "problem"],
    rl: Float[np.ndarray, "problem"],
    mixed: Float[np.ndarray, "problem"],
    *,
    samples: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """The ratio and its interval from one accuracy a problem and arm; NaN where there is no gain to explain.

    ``samples`` is the number that each accuracy is a mean of; 1 gives the widest interval. Formula and assumptions
    stand at the head of this file. It does not show a cause.
    """
    gain, gap = mixed - base, rl - base
    share = ratio(gain, gap, level=level, slack=0.5 / samples**2)
    n = len(gap)
    if not share.measured:
        return Estimate(np.nan, -np.inf, np.inf, n, NO_GAIN if n > 1 else share.method, level)
    if gap.mean() < 0:
        return Estimate(np.nan, -np.inf, np.inf, n, LOSS, level)
    if np.array_equal(mixed, rl) or np.array_equal(mixed, base):
        # All n problems agree: the data refute only a share of exceptions that would have shown up among n.
        slack = float((1 - ((1 - level) / 2) ** (1 / n)) / gap.mean())
        note = "no problem differed; interval from the exceptions that zero out of n allows"
        return Estimate(share.value, share.value - slack, share.value + slack, n, note, level)
    return share
