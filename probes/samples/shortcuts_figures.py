"""Signs of single texts to figures over problems: of both models, and of the gradient.

Every figure is a function of means over problems (:class:`probes.stats.contrast.Measured`), so that both models, and a
contrast, are resampled together. It shows nothing by itself; :mod:`probes.samples.shortcuts` says what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hooks.rollouts import Rollouts
from probes.samples.hardness import success_mass
from probes.samples.shortcuts_bins import Tables, graded_counts
from probes.samples.shortcuts_signs import signs, skipped
from probes.stats import GAP, SHARE, Estimate, problem_means
from probes.stats.contrast import Measured

SIGNS = ("degenerate", "answer repeated", "tail loop", "bare answer", "computation skipped")
"""Signs that are shares of texts."""
SHARES = (*SIGNS, "coverage", "accuracy")
"""What lies between 0 and 1."""
QUANTITIES = (*SIGNS, "repeat ratio", "operations", "coverage", "tokens", "accuracy")
"""All that is compared; what has no value is left out."""


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
            share, gap = (SHARE, GAP) if name in SHARES else (None, None)
            out[name] = {
                "base": Measured.of_means(problems, columns, lambda base, _: base, within=share),
                "rl": Measured.of_means(problems, columns, lambda _, rl: rl, within=share),
                "rl - base": Measured.of_means(problems, columns, lambda base, rl: rl - base, within=gap),
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
            rows.append((quantity, arm, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["quantity", "arm", "value", "low", "high", "n"])


def rare(tables: Tables, group: int, options: Mapping[str, Any]) -> tuple[Estimate, Estimate]:
    """Share of successes' gradient mass in lone successes of a group, and the share of that in degenerate texts.

    It does not show what training made of it; see :mod:`probes.samples.hardness`.
    """
    graded, counts = tables["base"].dropna(subset=["correct"]), graded_counts(tables)
    lone, total = success_mass(counts["size"].to_numpy(), counts["sum"].to_numpy(), group=group)
    right = graded[graded["correct"] == 1]
    # A problem without a success has no mass, and so no say in what the mass lies in.
    share = right.groupby("problem")["degenerate"].mean().reindex(counts.index).fillna(0.0).to_numpy(dtype=float)
    problems = list(counts.index)
    mass = Measured.of_means(problems, np.stack([lone, total], axis=1), lambda part, whole: part / whole)
    bad = Measured.of_means(problems, np.stack([lone * share, lone], axis=1), lambda part, whole: part / whole)
    return mass.estimate(**options), bad.estimate(**options)


def _means(tables: Tables, name: str) -> tuple[list[str], np.ndarray]:
    """Means of both models on the problems where both have a value."""
    found = {}
    for arm, table in tables.items():
        problems, means = problem_means(table[name], table["problem"])
        found[arm] = pd.Series(means, index=problems)
    joined = pd.DataFrame(found).dropna()
    return list(joined.index), joined[["base", "rl"]].to_numpy(dtype=float)
