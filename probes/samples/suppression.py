r"""Does RL make wrong answers less likely, more than it makes right ones likelier?

The base's own samples are split into right and wrong, and their log-ratio
:math:`d(y) = \log\pi_{RL}(y|x) - \log\pi_{base}(y|x)` is averaged within each problem and then over problems:

.. math:: A = \mathrm{E}_{right}[d], \quad S = -\mathrm{E}_{wrong}[d], \quad share = S / (|A| + |S|),

by sequence and by token (:math:`d` over the text's length). The split of what RLVR does into raising right and lowering
wrong samples is that of arXiv 2506.01347; this measurement on a finished pair is our construction.

Two things keep it honest. First, an average log-ratio under the base is a log-ratio of masses minus a divergence:
:math:`A = \log (P_{RL}(right)/P_{base}(right)) - KL_{right}`, so *any* drift pulls both averages down and looks like
suppression. Hence the share exists only where right texts gained on wrong ones (the interval of :math:`A + S` above
zero), and the same share from the masses alone stands beside it. Second, right and wrong share one unit of probability:
for a small shift of mass the share *is* the base's accuracy. A base that is mostly right shows suppression, one that is
mostly wrong amplification, whatever the training did.

Assumes log-probabilities of the distributions that the samples were drawn from: at another temperature than 1,
``score(pair, rollouts, temperature=...)`` gives them. It does not show how RL was done: that training on wrong samples
alone suffices does not make suppression the cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from probes.results import Result, manifest
from probes.samples.suppression_mass import MIN_EFFECTIVE, NEGLIGIBLE, Mass, new_mass, weighed
from probes.samples.suppression_texts import checked
from probes.stats import SHARE, Estimate
from probes.stats.bootstrap import Statistic
from probes.stats.contrast import Measured, beside

LEVELS = {"sequence": "log-ratio a text", "token": "log-ratio a token", "mass": "log-ratio of the class's mass"}
"""The three ways to say how much a class of texts gained, and what they are in words."""
PARTS: Mapping[str, Statistic] = {
    "right": lambda right, wrong: right,
    "wrong": lambda right, wrong: wrong,
    "right minus wrong": lambda right, wrong: right - wrong,
    "suppression share": lambda right, wrong: -wrong / (np.abs(right) + np.abs(wrong)),
}
"""What is told on each level, from the mean log-ratios of right and of wrong texts."""
ELSEWHERE = "refused: the samples were not drawn from the distribution that was scored"
"""Why importance weights are refused for such samples."""
ROUNDING = 1e-5
"""Nats below which a gap between right and wrong texts is rounding: two equal models in float32 may show as much."""
Found = dict[tuple[str, str], tuple[Measured, Estimate]]


@dataclass(frozen=True, repr=False, eq=False)
class Suppression(Result):
    """What became likelier and what less likely between a base and its RL model."""

    frame: pd.DataFrame
    """A row a figure: ``level`` (sequence, token, mass, moved, new), ``quantity``, ``value``, ``low``, ``high``, ``n``,
    ``method`` (which says why, where a value is missing)."""
    problems: pd.DataFrame
    """A row a problem with right and wrong samples: means of both classes on every level."""
    n_texts: int
    """Samples of the base that were read."""
    left_out: int
    """Problems without both right and wrong samples of the base, which the log-ratios leave out."""
    measured: Mapping[str, Measured]
    """The figures that are defined, as ``level: quantity``, open to be set against a contrast."""
    contrasts: pd.DataFrame
    """The same figures of other trainings and the differences, see :func:`probes.stats.contrast.beside`."""

    def figure(self, level: str, quantity: str) -> Estimate:
        """One figure with its interval.

        Raises:
            ValueError: a figure that is not in the table.
        """
        rows = self.frame[(self.frame["level"] == level) & (self.frame["quantity"] == quantity)]
        if rows.empty:
            known = ", ".join(f"{one.level}: {one.quantity}" for one in self.frame.itertuples())
            raise ValueError(f"There is no figure {level}: {quantity} here; there are {known}.")
        row = rows.iloc[0]
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        return Estimate(value, low, high, int(row["n"]), str(row["method"]), self.level)

    def headline(self) -> str:
        """The share and what it is made of, or why there is none."""
        right, wrong = self.figure("sequence", "right"), self.figure("sequence", "wrong")
        share = self.figure("sequence", "suppression share")
        said = f"suppression share {share:.2f}" if share.measured else f"no suppression share ({share.method})"
        return f"{said}; log-ratio of the base's right texts {right:.2f}, wrong {wrong:.2f}; {right.n} problems"

    def plot(self) -> go.Figure:
        """Log-ratios of right and wrong texts on every level, with intervals."""
        from plotly.subplots import make_subplots

        figure = make_subplots(rows=1, cols=len(LEVELS), subplot_titles=list(LEVELS.values()))
        for column, level in enumerate(LEVELS, start=1):
            for name, colour in (("right", "rgb(0,121,90)"), ("wrong", "rgb(176,68,122)")):
                one = self.figure(level, name)
                bars = {"type": "data", "symmetric": False, "array": [one.high - one.value],
                        "arrayminus": [one.value - one.low]}  # fmt: skip
                figure.add_bar(x=[name], y=[one.value], error_y=bars, marker_color=colour, showlegend=False, row=1,
                               col=column)  # fmt: skip
        return figure.update_layout(template="plotly_white", title=self.headline())


def suppression(
    base: pd.DataFrame,
    rl: pd.DataFrame | None = None,
    *,
    contrast: Mapping[str, Suppression] | None = None,
    negligible: float = NEGLIGIBLE,
    min_effective: int | float = MIN_EFFECTIVE,
    as_drawn: bool = True,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Suppression:
    """How RL moved the probability of the base's right and wrong texts.

    Args:
        base: the base's samples under both models, see :func:`probes.samples.suppression_texts.scored_texts`.
        rl: the RL model's samples under both models, for the new-mass check; None leaves it out.
        contrast: by name ("random reward", "SFT") the result of another pair from the same base on the same problems.
        negligible: ratio of probabilities below which a text of the RL model counts as new.
        min_effective: effective samples, over all problems, below which importance weights are refused.
        as_drawn: whether the log-probabilities are of the distribution that the samples were drawn from, as they are
            when scored at their temperature and drawn without a nucleus; if not, importance weights are refused, and
            the averages are over another distribution than the one scored.
        n_boot: bootstrap draws over problems.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: a table without its columns, without rows, or with a missing log-probability.

    It does not show by which of the two RL was done; see the head of this file.
    """
    texts = checked(base, "base")
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    problems = _per_problem(texts)
    both = problems.dropna(subset=["sequence_right", "sequence_wrong"])
    mass = weighed(texts)
    why = mass.refusal(min_effective=min_effective) if as_drawn else ELSEWHERE
    found = _log_ratios(both, "sequence", options)
    told = (
        "" if found["sequence", "suppression share"][1].measured else found["sequence", "suppression share"][1].method
    )
    found |= _log_ratios(both, "token", options, why=told)
    for name, part in _tokens(both).items():
        found["token", name] = (part, part.estimate(**options))
    found |= _of_mass(mass, why, options)
    if rl is not None:
        for name, part in new_mass(checked(rl, "RL"), negligible=negligible).items():
            found["new", name] = (part, part.estimate(**options))
        own = rl.groupby(rl["problem"].astype(str), sort=True)["correct"].mean()
        part = Measured.of_means(list(own.index), own.to_numpy(dtype=float)[:, None], within=SHARE)
        found["moved", "right, RL's own samples"] = (part, part.estimate(**options))
    measured = {f"{one}: {name}": part for (one, name), (part, said) in found.items() if said.interval.known}
    rows = [
        {"level": one, "quantity": name, **{key: value for key, value in said.as_dict().items() if key != "level"}}
        for (one, name), (_, said) in found.items()
    ]
    others = {name: result.measured for name, result in (contrast or {}).items()}
    return Suppression(
        frame=pd.DataFrame(rows)[["level", "quantity", "value", "low", "high", "n", "method"]],
        problems=both,
        n_texts=len(texts),
        left_out=len(problems) - len(both),
        measured=measured,
        contrasts=beside(measured, others, **options),
        manifest=manifest(
            measure="samples.suppression", negligible=negligible, min_effective=min_effective,
            as_drawn=as_drawn, contrast=sorted(contrast or {}), **options,
        ),
    )  # fmt: skip


def _per_problem(texts: pd.DataFrame) -> pd.DataFrame:
    """Means of each problem's right and wrong texts; NaN where it has none."""
    rows = {}
    for problem, part in texts.groupby("problem", sort=True):
        row = {}
        for name, right in (("right", 1.0), ("wrong", 0.0)):
            own = part[part["correct"] == right]
            ratio = (own["logp_rl"] - own["logp_base"]).to_numpy(dtype=float)
            lengths = own["tokens"].to_numpy(dtype=float)
            row[f"sequence_{name}"] = float(ratio.mean()) if len(own) else math.nan
            row[f"token_{name}"] = float((ratio / lengths).mean()) if len(own) else math.nan
            row[f"rise_{name}"] = float((own["rise"] / lengths).mean()) if len(own) else math.nan
            row[f"drop_{name}"] = float((own["drop"] / lengths).mean()) if len(own) else math.nan
        rows[str(problem)] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _log_ratios(both: pd.DataFrame, level: str, options: Mapping[str, Any], *, why: str = "") -> Found:
    """What right and wrong texts gained on one level, the gap between them, and the share where there is a gap."""
    table = both[[f"{level}_right", f"{level}_wrong"]].to_numpy(dtype=float).reshape(-1, 2)
    names = [str(name) for name in both.index]
    parts = {name: Measured.of_means(names, table, statistic) for name, statistic in PARTS.items()}
    return _with_share(level, parts, options, why)


def _of_mass(mass: Mass, why: str, options: Mapping[str, Any]) -> Found:
    """The log-ratios of the two classes' masses, the mass moved, and how far the weights can be trusted."""

    def of_masses(statistic: Statistic) -> Statistic:
        return lambda base, rl: statistic(np.log(rl / base), np.log((1 - rl) / (1 - base)))

    parts = {name: mass.measured(of_masses(statistic)) for name, statistic in PARTS.items()}
    out = _with_share("mass", parts, options, why)
    before, moved = mass.measured(lambda base, rl: base), mass.measured(lambda base, rl: rl - base)
    out["moved", "right, base"] = (before, before.estimate(**options))
    out["moved", "to right"] = (moved, moved.estimate(**options))
    if why:
        refused = [key for key in out if key != ("moved", "right, base")]
        out |= {key: (out[key][0], _none(out[key][1], why)) for key in refused}
    for name, value in (("effective samples", mass.effective), ("mean weight", mass.covered)):
        said = Estimate(value, math.nan, math.nan, len(mass.problems), f"one run, {mass.n_texts} samples")
        out["moved", name] = (before, said)
    return out


def _with_share(level: str, parts: Mapping[str, Measured], options: Mapping[str, Any], why: str) -> Found:
    out = {(level, name): (part, part.estimate(**options)) for name, part in parts.items()}
    part, share = out[level, "suppression share"]
    if share.measured and not out[level, "right minus wrong"][1].low > ROUNDING:
        why = why or "undefined: right texts did not gain on wrong ones beyond their interval"
    if why:
        out[level, "suppression share"] = (part, _none(share, why))
    return out


def _none(said: Estimate, why: str) -> Estimate:
    return replace(said, value=math.nan, low=math.nan, high=math.nan, method=why)


def _tokens(both: pd.DataFrame) -> dict[str, Measured]:
    """What tokens that went up gained and those that went down lost, nats a token of right and of wrong texts."""
    names = [str(name) for name in both.index]
    words: dict[str, Literal["rise", "drop"]] = {"gained by raised tokens": "rise", "lost by lowered tokens": "drop"}
    return {
        f"{what}, {side}": Measured.of_means(names, both[[f"{column}_{side}"]].to_numpy(dtype=float))
        for what, column in words.items()
        for side in ("right", "wrong")
    }
