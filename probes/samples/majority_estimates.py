r"""What is the chance that the most frequent answer of k samples is the right one?  Exactly, over all choices of k.

Of ``n`` samples of a problem ``c`` have the right answer, the others are of wrong answers :math:`j` with counts
:math:`c_j`, and ``u`` have none. If ``k`` of the ``n`` are drawn without return, and a tie is broken by lot,

.. math:: \mathrm{maj@}k = \binom{n}{k}^{-1} \sum_{t \ge 1} \binom{c}{t} \sum_{r} \frac{1}{r + 1}\,
          [x^{k-t} y^r]\,(1 + x)^u \prod_j \sum_{s \le t} \binom{c_j}{s} x^s y^{[s = t]}

where :math:`t` is the number of right answers drawn and :math:`r` how many wrong answers are drawn as often. This is
the counterpart for voting (self-consistency, arXiv 2203.11171) of the unbiased pass@k: the mean over all subsets,
without drawing any. arXiv 2504.07912 reports maj@64 beside pass@64.

Assumes samples drawn independently. It does not show k beyond the samples that were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

MOST_SAMPLES = 1000
"""Samples of a problem beyond which binomial numbers leave the range of floats."""


def maj_at_ks(right: int, wrong: Sequence[int], silent: int, ks: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """Chance that the most frequent answer of k samples of one problem is right, for several k.

    Args:
        right: samples with the right answer.
        wrong: how many samples have each of the wrong answers.
        silent: samples without an answer; they are drawn and do not vote.
        ks: numbers of samples drawn.

    Returns:
        a chance a k; NaN where k is larger than the number of samples.

    Raises:
        ValueError: a negative count, k below 1, or more than a thousand samples.

    It does not show what a weighted vote would give, nor a vote that knows which forms of an answer are equal.
    """
    n = right + sum(wrong) + silent
    if min([right, silent, *wrong]) < 0:
        raise ValueError("A count of answers is negative; count the samples of each answer.")
    if len(ks) and ks.min() < 1:
        raise ValueError(f"k counts votes and begins at 1, not {int(ks.min())}.")
    if n > MOST_SAMPLES:
        raise ValueError(f"maj@k is computed for at most {MOST_SAMPLES} samples of a problem, not {n}; give fewer.")
    out = np.full(len(ks), np.nan)
    known = ks <= n
    if not known.any():
        return out
    out[known] = 0.0
    most = int(ks[known].max())
    for t in range(1, min(right, most) + 1):
        ways = math.comb(right, t)
        others = _others(wrong, silent, t, most - t)
        shares = (others / np.arange(1, len(others) + 1)[:, None]).sum(axis=0)
        for place in np.flatnonzero(known & (ks >= t)):
            out[place] += ways * shares[ks[place] - t] / math.comb(n, int(ks[place]))
    return np.minimum(out, 1.0)


def _others(wrong: Sequence[int], silent: int, t: int, most: int) -> Float[np.ndarray, "tied degree"]:
    """Ways to draw so many samples of the other answers, none of them more than t times, by how many are drawn t times.

    Answers that are rarer than t cannot tie, and are joined first.
    """
    plain = np.zeros(most + 1)
    votes = _binomials(silent, most)
    plain[: len(votes)] = votes
    for count in wrong:
        if count < t:
            plain = np.convolve(plain, _binomials(count, most))[: most + 1]
    table = plain[None]
    for count in wrong:
        if count >= t:
            below, tied = _binomials(count, min(t - 1, most)), float(math.comb(count, t))
            grown = np.zeros((len(table) + 1, most + 1))
            for row, ways in enumerate(table):
                grown[row] += np.convolve(ways, below)[: most + 1]
                if t <= most:
                    grown[row + 1, t:] += tied * ways[: most + 1 - t]
            # Ties of more answers than there are samples for stay empty.
            table = grown[: most // t + 1]
    return table


def _binomials(n: int, upto: int) -> Float[np.ndarray, "degree"]:
    """Ways to choose 0, 1, ... of n, up to a degree."""
    return np.array([float(math.comb(n, s)) for s in range(min(n, upto) + 1)])
