r"""Do only a few tokens of a reference answer depend on the reasoning before it?

From log-probabilities of each reference after N chains of thought (:mod:`probes.samples.reflection_statistics`,
:mod:`probes.samples.reflection_reading`):

* the share of reference tokens that carry 80 % of the summed spread :math:`\sum_j \sigma_j`, a mean over problems, and
  beside it what pure noise would need: if all tokens varied alike, 16 chains and many tokens give about 0.7;
* within each problem, the rank correlation (Spearman) over chains of being right with the plain score
  :math:`\frac1m \sum_j l_{ij}` and with the weighted one, :math:`\sum_j w_j l_{ij}`. The masked baseline is the same
  for all chains of a problem and drops out. arXiv 2506.13351 rewards the weighted score;
* the same for the score that carries the doubt of reflective tokens on to later ones, where its ``gamma`` is given;
* the overlap (Jaccard) of the tokens with the largest fifth of spread with those of the largest fifth of mean entropy,
  and of mean Jensen-Shannon divergence of base and RL model, all problems together, less the 1/9 that two random fifths
  have.

Assumes chains that stop before the answer they came to. What it does not show: that rewarding those tokens trains
faster; and in short references the share moves in steps of one token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.stats import rankdata

from probes.results import Result, manifest
from probes.samples.reflection_statistics import Read, carrying, noise_share, propagated, spread, weights
from probes.stats import Estimate
from probes.stats.contrast import Measured, beside

SHARE = 0.8
"""Share of the spread that the few tokens have to carry."""
TOP = 0.2
"""Share of tokens in each of the two sets whose overlap is taken."""
STATISTICS = (
    "carrying", "noise", "carrying - noise", "plain", "weighted", "weighted - plain", "propagated",
    "propagated - plain", "overlap", "overlap - chance", "js overlap", "js overlap - chance",
)  # fmt: skip
"""Rows of the table; what needs entropies, divergences or a gamma is left out without them."""


@dataclass(frozen=True, repr=False, eq=False)
class Reflection(Result):
    """How much of a set of references depends on the reasoning."""

    frame: pd.DataFrame
    """A row a statistic: ``statistic``, ``value``, ``low``, ``high``, ``n``. ``carrying`` is the share of tokens, and
    ``noise`` what equal noise would need; ``plain``, ``weighted`` and ``propagated`` are rank correlations with being
    right; ``overlap`` is that with high entropy, ``js overlap`` that with high divergence of the two models."""
    tokens: pd.DataFrame
    """A row a reference token: ``problem``, ``token``, ``sigma``, ``weight``, ``logp`` (mean over chains), ``entropy``
    and ``js`` (means; missing where they were not read)."""
    share: int | float
    """Share of the spread that ``carrying`` is about."""
    contrasts: pd.DataFrame | None = None
    """The same statistics of each contrast and ours minus it, see :data:`probes.stats.contrast.COLUMNS`."""

    def at(self, statistic: str) -> Estimate:
        """One statistic; ValueError for one that is not in the table."""
        rows = self.frame[self.frame["statistic"] == statistic]
        if rows.empty:
            raise ValueError(f"There is no {statistic!r} here; there are {', '.join(self.frame['statistic'])}.")
        row = rows.iloc[0]
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        return Estimate(value, low, high, int(row["n"]), "bootstrap over problems", self.level)

    def headline(self) -> str:
        """The share of tokens and the two correlations."""
        held, noise = self.at("carrying"), self.at("noise").value
        return (
            f"{held:.1%} of the reference tokens carry {self.share:.0%} of the spread (equal noise would need "
            f"{noise:.1%}); rank correlation with being right: plain {self.at('plain')}, weighted {self.at('weighted')}"
        )

    def plot(self) -> go.Figure:
        """Share of the spread held by the tokens with the most of it, all problems together."""
        sigma = np.sort(self.tokens["sigma"].dropna().to_numpy())[::-1]
        held = np.cumsum(sigma) / sigma.sum() if sigma.sum() > 0 else np.zeros(len(sigma))
        across = np.arange(1, len(sigma) + 1) / max(1, len(sigma))
        figure = go.Figure()
        figure.add_trace(go.Scatter(x=[0, *across], y=[0, *held], mode="lines", name="reference tokens"))
        figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line_dash="dot", name="all alike"))
        figure.add_hline(y=self.share, line_dash="dash")
        return figure.update_layout(
            template="plotly_white", xaxis={"title": "share of reference tokens, largest spread first"},
            yaxis={"title": "share of the spread"},
        )  # fmt: skip


def reflection(
    reads: Sequence[Read],
    *,
    share: int | float = SHARE,
    top: int | float | None = None,
    gamma: int | float | None = None,
    contrast: Mapping[str, Sequence[Read]] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Reflection:
    """Spread of reference tokens over chains, and what weighting by it does to the score.

    Args:
        reads: queries of at least two chains, see :func:`probes.samples.reflection_reading.read_references`.
        share: share of the spread that the few tokens have to carry.
        top: weigh the top share of the tokens evenly; in proportion to the spread where None.
        gamma: how fast the doubt of an earlier reflective token (of the top fifth by spread) fades with distance, see
            :func:`probes.samples.reflection_statistics.propagated`; the propagated score is left out where None.
        contrast: reads of the same problems under other models, by name.
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws and of the noise.

    Raises:
        ValueError: no query, a query with one chain, or two queries of one name.

    It does not show that rewarding these tokens would train faster.
    """
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    _check(reads)
    figures = _figures(reads, share, top, gamma, seed)
    rows = [(name, measured.estimate(**options)) for name, measured in figures.items()]
    frame = pd.DataFrame(
        [(name, found.value, found.low, found.high, found.n) for name, found in rows],
        columns=["statistic", "value", "low", "high", "n"],
    )
    contrasts = None
    if contrast:
        others = {name: _figures(_check(other), share, top, gamma, seed) for name, other in contrast.items()}
        contrasts = beside(figures, others, **options)
    record = manifest(measure="samples.reflection", share=share, top=top, gamma=gamma, queries=len(reads), **options)
    return Reflection(frame, _tokens(reads, top), share, contrasts, manifest=record)


def rank_correlation(first: Float[np.ndarray, "row"], second: Float[np.ndarray, "row"]) -> float:
    """Spearman's correlation, ties at their mean rank; NaN where either side does not vary or rows are missing.

    It does not show how large differences are.
    """
    kept = ~(np.isnan(first) | np.isnan(second))
    ranks = [rankdata(side[kept]) for side in (first, second)]
    if kept.sum() < 2 or any(side.min() == side.max() for side in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def _check(reads: Sequence[Read]) -> Sequence[Read]:
    if not reads:
        raise ValueError("There is no query to read a reference of; give at least one.")
    names = [read.problem for read in reads]
    for read in reads:
        if len(read.logp) < 2:
            raise ValueError(f"Problem {read.problem!r} has one chain; a spread needs at least two, the source has 16.")
    if len(set(names)) < len(names):
        raise ValueError("Two queries have one name; put all chains of a problem into one read.")
    return reads


def _figures(
    reads: Sequence[Read], share: int | float, top: int | float | None, gamma: int | float | None, seed: int
) -> dict[str, Measured]:
    """The statistics of a set of reads, so that they can be resampled together with another's."""
    null = cache(lambda chains, tokens: noise_share(chains, tokens, share, seed=seed))
    names, rows = [read.problem for read in reads], []
    for read in reads:
        sigma = spread(read.logp)
        held = carrying(sigma, share)
        even = math.nan if math.isnan(held) else null(*read.logp.shape)
        weight = weights(sigma, top=top)
        correct = np.full(len(read.logp), np.nan) if read.correct is None else read.correct
        # Where nothing varies the weights are missing, and with them the weighted score.
        scores = [read.logp.mean(axis=1), read.logp @ weight]
        if gamma is not None:
            marked = weights(sigma, top=TOP) > 0
            scores.append(propagated(read.logp, marked, gamma=gamma).mean(axis=1))
        rows.append((held, even, *(rank_correlation(score, correct) for score in scores)))
    table = np.array(rows, dtype=float)
    share_of, score_of = table[:, :2], table[:, 2:4]
    out = {
        "carrying": Measured.of_means(names, share_of, lambda held, even: held),
        "noise": Measured.of_means(names, share_of, lambda held, even: even),
        "carrying - noise": Measured.of_means(names, share_of, lambda held, even: held - even),
        "plain": Measured.of_means(names, score_of, lambda plain, weighted: plain),
        "weighted": Measured.of_means(names, score_of, lambda plain, weighted: weighted),
        "weighted - plain": Measured.of_means(names, score_of, lambda plain, weighted: weighted - plain),
    }
    if gamma is not None:
        pairs = table[:, [2, 4]]
        out["propagated"] = Measured.of_means(names, pairs, lambda plain, carried: carried)
        out["propagated - plain"] = Measured.of_means(names, pairs, lambda plain, carried: carried - plain)
    for name, of in (("overlap", [read.entropy for read in reads]), ("js overlap", [read.js for read in reads])):
        means = [one.mean(axis=0) for one in of if one is not None]
        if len(means) == len(reads):
            out |= _overlap(name, reads, np.concatenate(means))
    return out


def _overlap(name: str, reads: Sequence[Read], values: Float[np.ndarray, "all_tokens"]) -> dict[str, Measured]:
    """Jaccard overlap of the tokens with much spread and with much of another value; edges are those of the whole set.

    Two random sets of p of the tokens each overlap by p / (2 - p), about.
    """
    sigma = np.concatenate([spread(read.logp) for read in reads])
    count = max(1, round(TOP * len(sigma)))
    marks = [np.zeros(len(sigma), dtype=bool) for _ in range(2)]
    for mark, one in zip(marks, (sigma, values), strict=True):
        mark[np.argsort(-one, kind="stable")[:count]] = True
    owner = np.repeat(np.arange(len(reads)), [read.logp.shape[1] for read in reads])
    sets = (marks[0] & marks[1], marks[0] | marks[1])
    columns = np.stack([np.bincount(owner[mark], minlength=len(reads)) for mark in sets], axis=1).astype(float)
    names, chance = [read.problem for read in reads], count / (2 * len(sigma) - count)
    return {
        name: Measured.of_means(names, columns, lambda shared, all_of: shared / all_of),
        f"{name} - chance": Measured.of_means(names, columns, lambda shared, all_of: shared / all_of - chance),
    }


def _tokens(reads: Sequence[Read], top: int | float | None) -> pd.DataFrame:
    parts = []
    for read in reads:
        sigma = spread(read.logp)
        nothing = np.full(len(sigma), np.nan)
        entropy, js = (nothing if one is None else one.mean(axis=0) for one in (read.entropy, read.js))
        parts.append(
            pd.DataFrame(
                {
                    "problem": read.problem, "token": np.arange(len(sigma)), "sigma": sigma,
                    "weight": weights(sigma, top=top), "logp": read.logp.mean(axis=0), "entropy": entropy,
                    "js": js,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)
