"""Could this have come about by chance?  Permutation tests whose unit is the problem.

A p-value from ``n`` random relabellings is ``(1 + count) / (1 + n)``, counting those at least as extreme as what was
seen (Phipson and Smyth 2010): never zero, valid at any ``n``.

Assumes exchangeability under the null: signs of paired differences, or group labels of whole problems.  A small p-value
does not show that an effect is large.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from hooks.streams import stream
from probes.stats.problems import Column, as_floats, problem_codes, problem_means

Alternative = Literal["two-sided", "greater", "less"]


def permutation_p(
    observed: int | float,
    null: Float[np.ndarray, "draw"],
    *,
    alternative: Alternative = "greater",
    centre: int | float = 0.0,
) -> float:
    """P-value of an observed statistic against draws of it under the null.

    Args:
        observed: the statistic as seen; NaN gives NaN.
        null: the statistic under random relabelling; NaN draws are left out.
        alternative: which side counts as extreme.
        centre: the null's centre, from which ``two-sided`` measures distance (0.5 for an AUROC).

    Returns:
        a p-value in ``(0, 1]``; NaN without any draw.
    """
    draws = null[~np.isnan(null)]
    if math.isnan(observed) or len(draws) == 0:
        return math.nan
    # A hair of slack: a relabelling equal to the observed one must count, whatever the order of summation.
    slack = 1e-12 * max(1.0, abs(observed))
    if alternative == "greater":
        extreme = draws >= observed - slack
    elif alternative == "less":
        extreme = draws <= observed + slack
    else:
        extreme = np.abs(draws - centre) >= abs(observed - centre) - slack
    return float((1 + extreme.sum()) / (1 + len(draws)))


def sign_flip_p(
    differences: Column,
    problems: Column | None = None,
    *,
    alternative: Alternative = "two-sided",
    n_draws: int = 5000,
    seed: int = 0,
    label: str = "sign flip",
) -> float:
    """Test that paired differences centre on zero, by flipping the sign of whole problems.

    With at most twelve problems all sign patterns are listed and the p-value is exact.

    Does not show a difference in means if the differences are skewed; it tests symmetry about zero.
    """
    means = problem_means(differences, problems)[1]
    means = means[~np.isnan(means)]
    n = len(means)
    if n == 0:
        return math.nan
    if n <= 12:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        null = (1 - 2 * patterns) @ means / n
        # The observed pattern is in the list, and takes the place of the one that the estimate adds.
        return permutation_p(float(means.mean()), null[1:], alternative=alternative)
    signs = stream(seed, label, n).integers(0, 2, size=(n_draws, n)) * 2 - 1
    return permutation_p(float(means.mean()), signs @ means / n, alternative=alternative)


def two_sample_p(
    values: Column,
    group: Column,
    problems: Column | None = None,
    *,
    alternative: Alternative = "two-sided",
    n_draws: int = 5000,
    seed: int = 0,
    label: str = "two sample",
) -> float:
    """Test that the problems of two groups have equal means, by dealing the group labels out anew to whole problems.

    Args:
        values: a value a row.
        group: truth value a row, the same for all rows of a problem; the statistic is mean(True) - mean(False).
        problems: the problem of each row; None if each row is a problem.
        alternative: which side counts as extreme.
        n_draws: random relabellings.
        seed: of the relabellings.
        label: of the random stream.

    Raises:
        ValueError: if a problem lies in both groups (its rows are then paired: use :func:`sign_flip_p`).
    """
    names, means = problem_means(values, problems)
    _, codes = problem_codes(problems, len(values))
    if len(group) != len(codes):
        raise ValueError(f"{len(group)} group labels for {len(codes)} values; give one a value")
    members = np.bincount(codes, weights=as_floats(group), minlength=len(names)) / np.bincount(codes)
    if not np.isin(members, (0.0, 1.0)).all():
        mixed = names[~np.isin(members, (0.0, 1.0))][0]
        raise ValueError(f"problem {mixed} lies in both groups; compare the groups pair by pair with sign_flip_p")
    kept = ~np.isnan(means)
    means, inside = means[kept], members[kept] == 1.0
    if inside.all() or not inside.any():
        return math.nan
    order = stream(seed, label, len(means)).permuted(np.tile(np.arange(len(means)), (n_draws, 1)), axis=1)
    null = _mean_gap(means, inside[order])
    return permutation_p(float(_mean_gap(means, inside[None])[0]), null, alternative=alternative)


def _mean_gap(
    means: Float[np.ndarray, "problem"], inside: Bool[np.ndarray, "draw problem"]
) -> Float[np.ndarray, "draw"]:
    return (inside @ means) / inside.sum(axis=1) - (~inside @ means) / (~inside).sum(axis=1)
