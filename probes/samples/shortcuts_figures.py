"""Signs of single texts to figures over problems: of both models, by difficulty, and of the gradient.

Every figure is a function of means over problems (:class:`probes.stats.contrast.Measured`), so that both models, and a
contrast, are resampled together. It shows nothing by itself; :mod:`probes.samples.shortcuts` says what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hooks.rollouts import Rollouts
from probes.samples.hardness import NAMES, Bins, bin_weights, held_out, success_mass
from probes.samples.shortcuts_signs import signs, skipped
from probes.stats import Estimate, problem_means, wilson
from probes.stats.contrast import Measured

SIGNS = ("degenerate", "answer repeated", "tail loop", "bare answer", "computation skipped")
"""Signs that are shares of texts."""
QUANTITIES = (*SIGNS, "repeat ratio", "operations", "coverage", "tokens", "accuracy")
"""All that is compared; what has no value is left out."""
BIN_COLUMNS = ("bin", "problems", "quantity", "arm", "value", "low", "high", "n")
FEWEST = 2
"""Expected problems below which a bin has no figure."""
OF_BINS = ("degenerate", "bare answer", "accuracy")
"""Quantities that also stand by difficulty."""

Tables = dict[str, pd.DataFrame]


def both(base: Rollouts, rl: Rollouts, values: Mapping[str, Sequence[str]] | None) -> Tables:
    """Signs of both models' texts on the problems that both have; ValueError where there are none.

    It does not show problems that only one of them answered.
    """
    shared = set(base.frame["problem"]) & set(rl.frame["problem"])
    if not shared:
        raise ValueError("Base and RL texts have no problem in common; compare texts of the same problems.")
    tables = {name: signs(arm.subset(shared), values=values) for name, arm in (("base", base), ("rl", rl))}
    for name, table in tables.items():
        table["computation skipped"] = skipped(table, tables["base"], same=name == "base")
        table["accuracy"] = table["correct"]
    return tables


def paired(tables: Tables) -> dict[str, dict[str, Measured]]:
    """Each quantity of the base, of the RL model, and RL minus base; those without a value are left out."""
    out: dict[str, dict[str, Measured]] = {}
    for name in QUANTITIES:
        problems, columns = _means(tables, name)
        if len(problems):
            out[name] = {
                "base": Measured.of_means(problems, columns, lambda base, _: base),
                "rl": Measured.of_means(problems, columns, lambda _, rl: rl),
                "rl - base": Measured.of_means(problems, columns, lambda base, rl: rl - base),
            }
    problems, columns = _means(tables, "tokens")
    out["length ratio"] = {"rl / base": Measured.of_means(problems, columns, lambda base, rl: rl / base)}
    return out


def rows_of(figures: Mapping[str, Mapping[str, Measured]], options: Mapping[str, Any]) -> pd.DataFrame:
    """A row a quantity and arm, with its interval."""
    rows = []
    for quantity, arms in figures.items():
        for arm, measured in arms.items():
            found = measured.estimate(**options)
            if quantity in SIGNS and arm in ("base", "rl") and found.value in (0.0, 1.0):
                # No draw could change texts that are all alike; Wilson's interval over problems can.
                found = wilson(int(found.value * found.n), found.n, level=options["level"])
            rows.append((quantity, arm, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["quantity", "arm", "value", "low", "high", "n"])


def by_bin(tables: Tables, bins: Bins, options: Mapping[str, Any]) -> pd.DataFrame:
    """A row a bin, quantity and arm: the base on samples that did not choose the bin, the RL model on all of its own.

    It does not show bins in which fewer than two problems are expected: their values are missing.
    """
    graded = tables["base"].dropna(subset=["correct"])
    counts = graded.groupby("problem")["correct"].agg(["size", "sum"]).astype(int)
    n, c = counts["size"].to_numpy(), counts["sum"].to_numpy()
    weights = bin_weights(n, c, bins)
    rows = []
    for quantity in OF_BINS:
        right = graded[quantity].where(graded["correct"] == 1, 0.0).groupby(graded["problem"]).sum()
        wrong = graded[quantity].where(graded["correct"] == 0, 0.0).groupby(graded["problem"]).sum()
        base = held_out(n, c, right.to_numpy(dtype=float), wrong.to_numpy(dtype=float), bins)
        names, means = problem_means(tables["rl"][quantity], tables["rl"]["problem"])
        rl = pd.Series(means, index=names).reindex(counts.index).to_numpy(dtype=float)
        for place, name in enumerate(NAMES):
            inside = weights[:, place]
            columns = np.stack([base[:, place], inside * rl, inside], axis=1)
            for arm, statistic in _OF_A_BIN.items():
                found = Measured.of_means(list(counts.index), columns, statistic).estimate(**options)
                if inside.sum() < FEWEST:
                    found = nothing(options["level"], "fewer than two problems are expected in the bin")
                rows.append((name, inside.sum(), quantity, arm, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=list(BIN_COLUMNS))


_OF_A_BIN: Mapping[str, Any] = {
    "base": lambda base, rl, inside: base / inside,
    "rl": lambda base, rl, inside: rl / inside,
    "rl - base": lambda base, rl, inside: (rl - base) / inside,
}


def hard_share(tables: Tables, bins: Bins, options: Mapping[str, Any]) -> Estimate:
    """Share of problems that the base never solves in as many draws as choose a bin.

    It does not show whether more draws would solve them.
    """
    graded = tables["base"].dropna(subset=["correct"])
    counts = graded.groupby("problem")["correct"].agg(["size", "sum"]).astype(int)
    hard = bin_weights(counts["size"].to_numpy(), counts["sum"].to_numpy(), bins)[:, NAMES.index("hard")]
    if (hard == 0).all() or (hard == 1).all():
        return wilson(int(hard.sum()), len(hard), level=options["level"])
    return Measured.of_means(list(counts.index), hard[:, None]).estimate(**options)


def rare(tables: Tables, group: int, options: Mapping[str, Any]) -> tuple[Estimate, Estimate]:
    """Share of successes' gradient mass in lone successes of a group, and the share of that in degenerate texts.

    It does not show what training made of it; see :mod:`probes.samples.hardness`.
    """
    graded = tables["base"].dropna(subset=["correct"])
    counts = graded.groupby("problem")["correct"].agg(["size", "sum"]).astype(int)
    lone, total = success_mass(counts["size"].to_numpy(), counts["sum"].to_numpy(), group=group)
    right = graded[graded["correct"] == 1]
    # A problem without a success has no mass, and so no say in what the mass lies in.
    share = right.groupby("problem")["degenerate"].mean().reindex(counts.index).fillna(0.0).to_numpy(dtype=float)
    problems = list(counts.index)
    mass = Measured.of_means(problems, np.stack([lone, total], axis=1), lambda part, whole: part / whole)
    bad = Measured.of_means(problems, np.stack([lone * share, lone], axis=1), lambda part, whole: part / whole)
    return mass.estimate(**options), bad.estimate(**options)


def nothing(level: float, why: str) -> Estimate:
    """What stands where nothing could be measured."""
    return Estimate(math.nan, math.nan, math.nan, 0, why, level)


def _means(tables: Tables, name: str) -> tuple[list[str], np.ndarray]:
    """Means of both models on the problems where both have a value."""
    found = {}
    for arm, table in tables.items():
        problems, means = problem_means(table[name], table["problem"])
        found[arm] = pd.Series(means, index=problems)
    joined = pd.DataFrame(found).dropna()
    return list(joined.index), joined[["base", "rl"]].to_numpy(dtype=float)
