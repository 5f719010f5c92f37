r"""How well do two ways of sorting the same sentences agree?  The adjusted Rand index, with interval and p.

With ``t`` the table of counts of the two labels, ``C(m) = m (m - 1) / 2``, ``S`` the sum of ``C`` over its cells, ``A``
and ``B`` over its row and column sums, ``E = A B / C(N)`` (Hubert and Arabie 1985, Journal of Classification 2):

    ARI = (S - E) / ((A + B) / 2 - E)

1 for equal partitions whatever their names, 0 on average for unrelated ones.  The interval resamples problems; the p
value deals one side's labels out anew *within* each problem, so that texts which merely differ do not count as
agreement.  Assumes exchangeable problems.  A high index does not show that either partition is meaningful.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, Shaped

from hooks.streams import stream
from probes.stats import Column, Estimate, bootstrap_weights, percentile_interval, permutation_p
from probes.stats.problems import problem_codes


def adjusted_rand(counts: Float[np.ndarray, "draw a b"]) -> Float[np.ndarray, "draw"]:
    """The index of each table of counts; NaN where both partitions are one block (or nothing is left to compare)."""
    together = _pairs(counts).sum(axis=(1, 2))
    first, second = _pairs(counts.sum(axis=2)).sum(axis=1), _pairs(counts.sum(axis=1)).sum(axis=1)
    every = _pairs(counts.sum(axis=(1, 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = first * second / every
        return (together - expected) / ((first + second) / 2 - expected)


def agreement(
    first: Column, second: Column, problems: Column | None = None, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """The adjusted Rand index of two labels of the same rows, with a bootstrap interval over problems.

    Raises:
        ValueError: for columns of different lengths.

    It does not show which of the two is right.
    """
    one, other = _codes(first), _codes(second)
    if len(one) != len(other):
        raise ValueError(f"{len(one)} labels against {len(other)}; give both for the same rows")
    return stability([one, other], problems, n_boot=n_boot, seed=seed)


def agreement_p(
    first: Column, second: Column, problems: Column | None = None, *, n_draws: int = 500, seed: int = 0
) -> float:
    """One-sided p-value of the index against labels dealt out anew within each problem.

    Without problems over all rows.  NaN where the index is not defined.
    """
    one, other = _codes(first), _codes(second)
    owners = problem_codes(problems, len(one))[1] if problems is not None else np.zeros(len(one), dtype=np.int64)
    observed = float(adjusted_rand(_tables(one, other, np.zeros_like(owners), 1))[0])
    rng = stream(seed, "agreement", len(one))
    by_problem = np.argsort(owners, kind="stable")
    null = np.empty(n_draws)
    for draw in range(n_draws):
        # Sorting by (problem, random key) shuffles each problem's rows among themselves.
        shuffled = np.lexsort((rng.random(len(one)), owners))
        dealt = np.empty_like(other)
        dealt[by_problem] = other[shuffled]
        null[draw] = adjusted_rand(_tables(one, dealt, np.zeros_like(owners), 1))[0]
    return permutation_p(observed, null)


def stability(
    partitions: list[Int[np.ndarray, "row"]], problems: Column | None = None, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Mean adjusted Rand index over all pairs of partitions of the same rows, with an interval over problems.

    NaN with fewer than two partitions.  It does not show that a stable partition is a true one: two blobs cut the same
    way by every seed are stable too.
    """
    n_rows = len(partitions[0]) if partitions else 0
    owners = problem_codes(problems, n_rows)[1]
    n_problems = int(owners.max(initial=-1)) + 1
    method = f"bootstrap over problems, {n_boot} draws"
    if len(partitions) < 2:
        return Estimate(np.nan, np.nan, np.nan, n_problems, "one run", 0.95)
    weights = bootstrap_weights(n_problems, n_boot=n_boot, seed=seed, label="agreement").astype(float)
    pairs = list(combinations(partitions, 2))
    values, draws = np.empty(len(pairs)), np.empty((len(pairs), n_boot))
    for at, (one, other) in enumerate(pairs):
        tables = _tables(one, other, owners, n_problems)
        values[at] = adjusted_rand(tables.sum(axis=0, keepdims=True))[0]
        drawn = weights @ tables.reshape(n_problems, -1)
        draws[at] = adjusted_rand(drawn.reshape(n_boot, *tables.shape[1:]))
    interval = percentile_interval(draws.mean(axis=0), n=n_problems)
    return Estimate(float(values.mean()), interval.low, interval.high, n_problems, method)


def _pairs(counts: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return counts * (counts - 1) / 2


def _codes(labels: Column) -> Int[np.ndarray, "row"]:
    names: Shaped[np.ndarray, "row"] = np.array([str(label) for label in labels], dtype=str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _tables(
    one: Int[np.ndarray, "row"], other: Int[np.ndarray, "row"], owners: Int[np.ndarray, "row"], n: int
) -> Float[np.ndarray, "problem a b"]:
    """How often each pair of labels occurs, problem by problem."""
    a, b = int(one.max(initial=0)) + 1, int(other.max(initial=0)) + 1
    flat = (owners * a + one) * b + other
    return np.bincount(flat, minlength=n * a * b).reshape(n, a, b).astype(float)
