r"""The measures of two phases at each checkpoint, as functions of how often each problem is drawn.

With NLL the surprise of a token under its own checkpoint t (arXiv 2509.03646, section 2.2): relative perplexity of a
group of tokens, :math:`\exp(\overline{NLL}_t - \overline{NLL}_0)`; mean entropy of a group in nats; semantic entropy
:math:`-\sum_s p_s \log p_s` over clusters s of matched phrases; conditional entropy :math:`\sum_s p_s H(next | s)` of
the words that follow, as joint minus marginal entropy; planning share of the fifth of tokens with the highest entropy
(arXiv 2506.01939).

All of them are ratios or entropies of sums over problems, so a bootstrap draw is a row of weights.  Entropies of
phrases are Miller-Madow values (see :func:`probes.training.phrases.entropy`); a resample has fewer kinds than the
sample, so their draws are moved to lie around the value itself.

What they do not show: that tokens in phrases plan, nor runs other than this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from probes.stats import SHARE, bootstrap_weights, percentile_interval
from probes.training.phrases import Corpus, Matches, entropy, planning
from probes.training.series import Series

HIGH = 0.2
"""Share of a checkpoint's tokens that count as of high entropy (arXiv 2506.01939)."""
PHRASES = ("semantic_entropy", "conditional_entropy")
WITHIN = {
    **dict.fromkeys(("accuracy", "planning_share", "planning_of_high_entropy", "words_in_phrases"), SHARE),
    **dict.fromkeys((*PHRASES, "entropy_planning", "entropy_execution"), (0.0, math.inf)),
}
"""Bounds of the measures: where all draws are alike, a share has ends by them and an entropy has none."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Each measure at each checkpoint: the value in row 0, bootstrap draws over problems below."""

    values: dict[str, Float[np.ndarray, "draw checkpoint"]]
    problems: int
    rests: dict[str, Int[np.ndarray, "checkpoint"]]
    """Problems that each measure rests on at each checkpoint: those with a token, word or phrase of the kind that it
    is a share or mean of.  Four problems that hold all uncertain tokens are four, whatever the others hold."""

    def frame(self, level: float) -> pd.DataFrame:
        """A row a checkpoint: each measure with ``_low`` and ``_high``."""
        columns = {}
        for name, table in self.values.items():
            columns[name] = table[0]
            within = WITHIN.get(name)
            # Without draws there is no interval: a missing draw says so.
            draws = table[1:] if len(table) > 1 else np.full_like(table, math.nan)
            ends = [
                percentile_interval(column, n=int(n), level=level, within=within)
                for column, n in zip(draws.T, self.rests[name], strict=True)
            ]
            columns[f"{name}_low"] = np.array([end.low for end in ends])
            columns[f"{name}_high"] = np.array([end.high for end in ends])
        return pd.DataFrame(columns)


def curves(series: Series, corpus: Corpus, matches: Matches, *, n_boot: int, seed: int) -> Curves:
    """All measures; those of tokens are NaN where a checkpoint has no token table.

    They do not show that tokens in phrases plan.
    """
    n, steps = len(series.problems), len(series.checkpoints)
    weights = np.ones((1, n))
    if n_boot and n > 1:
        weights = np.concatenate([weights, bootstrap_weights(n, n_boot=n_boot, seed=seed, label="series")])
    out = {name: weights @ table / n for name, table in (("accuracy", series.accuracy()), ("length", series.lengths()))}
    rests = dict.fromkeys(out, np.full(steps, n))
    plan = planning(corpus, matches)
    for values, held in (
        _of_tokens(corpus, plan, weights, (n, steps)),
        _of_phrases(matches.events, weights, steps),
        _covered(corpus, matches, weights, (n, steps)),
    ):
        out |= values
        rests |= held
    return Curves(out, n, rests)


Measures = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
"""Values of measures, draw by checkpoint, and how many problems they rest on at each checkpoint."""


def _covered(corpus: Corpus, matches: Matches, weights: np.ndarray, shape: tuple[int, int]) -> Measures:
    """Share of the words that lie in phrases; NaN where no text of a checkpoint has a word."""
    place = corpus.problem.astype(np.int64) * shape[1] + corpus.checkpoint
    owner = np.repeat(place, [len(text.words) for text in corpus.texts])
    size = shape[0] * shape[1]
    covered, every = (np.bincount(owner, weights=of, minlength=size).reshape(shape) for of in (matches.covered, None))
    inside, words = weights @ covered, weights @ every
    share = np.divide(inside, words, out=np.full(words.shape, math.nan), where=words > 0)
    return {"words_in_phrases": share}, {"words_in_phrases": np.count_nonzero(every, axis=0)}


def _of_tokens(
    corpus: Corpus, plan: Bool[np.ndarray, "token"], weights: np.ndarray, shape: tuple[int, int]
) -> Measures:
    """Perplexity against the first checkpoint, entropy, and the planning share of all and of high-entropy tokens."""
    tokens = corpus.tokens
    place = tokens["problem"].to_numpy(dtype=np.int64) * shape[1] + tokens["checkpoint"].to_numpy(dtype=np.int64)
    values = tokens["entropy"].to_numpy(dtype=float)
    loss = -tokens["logp"].to_numpy(dtype=float)
    high = np.zeros(len(tokens), dtype=bool)
    for index in range(shape[1]):
        own = tokens["checkpoint"].to_numpy() == index
        if own.any():
            high[own] = values[own] >= np.quantile(values[own], 1 - HIGH)

    def by_problem(of: np.ndarray) -> np.ndarray:
        return np.asarray(np.bincount(place, weights=of, minlength=shape[0] * shape[1]).reshape(shape))

    def total(of: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ by_problem(of))

    out: dict[str, np.ndarray] = {}
    rests: dict[str, np.ndarray] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, group in (("planning", plan), ("execution", ~plan)):
            count = total(group)
            surprise = total(loss * group) / count
            out[f"relative_ppl_{name}"] = np.exp(surprise - surprise[:, :1])
            out[f"entropy_{name}"] = total(values * group) / count
            held = np.count_nonzero(by_problem(group), axis=0)
            rests |= {f"relative_ppl_{name}": np.minimum(held, held[0]), f"entropy_{name}": held}
        for name, group in (("planning_share", np.ones(len(plan), dtype=bool)), ("planning_of_high_entropy", high)):
            out[name] = total(plan & group) / total(group)
            rests[name] = np.count_nonzero(by_problem(group), axis=0)
    return out, rests


def _of_phrases(events: pd.DataFrame, weights: np.ndarray, steps: int) -> Measures:
    """Entropy of the phrases' clusters, and of what follows given the cluster."""
    out = {name: np.full((len(weights), steps), math.nan) for name in PHRASES}
    rests = {name: np.zeros(steps, dtype=np.int64) for name in PHRASES}
    for index in sorted(set(events["checkpoint"])):
        every = events[events["checkpoint"] == index]
        followed = every[every["follows"] != ""]
        for name, part in zip(PHRASES, (every, followed), strict=True):
            rests[name][index] = part["problem"].nunique()
        out["semantic_entropy"][:, index] = entropy(_counts(every, ["cluster"], weights))
        if len(followed):
            both = entropy(_counts(followed, ["cluster", "follows"], weights))
            out["conditional_entropy"][:, index] = both - entropy(_counts(followed, ["cluster"], weights))
    for table in out.values():
        if len(table) > 1:
            known = ~np.isnan(table[0])
            table[1:, known] += table[0, known] - np.nanmedian(table[1:, known], axis=0)
    return out, rests


def _counts(events: pd.DataFrame, keys: list[str], weights: np.ndarray) -> np.ndarray:
    """How often each kind stands in each draw."""
    kinds = events.groupby(keys, sort=True).ngroup().to_numpy()
    table = csr_matrix(
        (np.ones(len(events)), (kinds, events["problem"].to_numpy())), shape=(int(kinds.max()) + 1, weights.shape[1])
    )
    return np.asarray((table @ weights.T).T)
