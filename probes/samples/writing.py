r"""How long and how uncertain is what each model writes?  Lengths, cut-off texts, entropy, distinct answers.

Per arm, with intervals from resampling problems: accuracy; mean tokens a text; share cut off at the token limit; mean
``-log p`` of its own tokens (an unbiased estimate of the mean entropy only where texts were sampled at temperature 1
without a nucleus); mean entropy in nats over all tokens where a token table of the arm's own texts is given; distinct
answers over samples, within a problem. Length and entropy confound nearly every comparison of a base with its RL model
(arXiv 2506.01939, arXiv 2504.13837), which is why this table stands beside all of them. With :math:`L_{is}` tokens and
log-probability :math:`\ell_{is}` of sample ``s`` of problem ``i``,

.. math:: tokens = \mathrm{mean}_i\,\mathrm{mean}_s L_{is}, \qquad
          surprise = -\sum_i \mathrm{mean}_s \ell_{is} \Big/ \sum_i \mathrm{mean}_s L_{is}.

What it does not show: why texts are long, nor whether low entropy is confidence or collapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.stats import GAP, Estimate, problem_means
from probes.stats.bootstrap import bootstrap_table
from probes.stats.contrast import Measured, beside

SHARES = ("accuracy", "cut off", "distinct answers")
"""Quantities between 0 and 1."""


@dataclass(frozen=True, repr=False, eq=False)
class Writing(Result):
    """Lengths and uncertainty of several arms on the problems that all of them have."""

    frame: pd.DataFrame
    """A row an arm and quantity: ``arm``, ``quantity``, ``value``, ``low``, ``high``, ``n``; the arm ``rl - base``
    holds the paired differences where both arms are there."""
    contrasts: pd.DataFrame | None = None
    """RL minus base of each contrast and ours minus it, see :data:`probes.stats.contrast.COLUMNS`; None without."""

    def headline(self) -> str:
        """Mean lengths in a sentence."""
        rows = self.frame[self.frame["quantity"] == "tokens"]
        return "mean tokens a text: " + ", ".join(
            f"{arm} {value:.1f}" for arm, value in zip(rows["arm"], rows["value"])
        )

    def plot(self) -> go.Figure:
        """Length and entropy of each arm with intervals."""
        from plotly.subplots import make_subplots

        shown = [name for name in ("tokens", "entropy", "surprise") if (self.frame["quantity"] == name).any()]
        figure = make_subplots(rows=1, cols=len(shown), subplot_titles=shown)
        for column, name in enumerate(shown, start=1):
            rows = self.frame[(self.frame["quantity"] == name) & (self.frame["arm"] != "rl - base")]
            bars = {
                "type": "data", "symmetric": False,
                "array": list(rows["high"] - rows["value"]), "arrayminus": list(rows["value"] - rows["low"]),
            }  # fmt: skip
            figure.add_trace(
                go.Bar(x=list(rows["arm"]), y=list(rows["value"]), error_y=bars, showlegend=False), row=1, col=column
            )
        return figure.update_layout(template="plotly_white", title=self.headline())


def writing(
    arms: Mapping[str, Rollouts],
    *,
    tokens: Mapping[str, pd.DataFrame] | None = None,
    contrast: Mapping[str, Rollouts] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Writing:
    """Length, entropy and diversity of each arm's texts.

    Args:
        arms: rollouts by name; the names ``base`` and ``rl`` also give paired differences.
        tokens: token tables of the arms' own texts (``hooks.score``); the entropy is read from ``entropy_rl`` for the
            arm ``rl`` and from ``entropy_base`` otherwise; that of a contrast stands under its name, scored as the RL
            model of a pair of its own.
        contrast: texts of other models tuned from the base of the arm ``base``, by name ("random reward", "SFT"); set
            against the arm ``rl``.
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: no arm, no problem that all arms have, or a contrast without the arms ``base`` and ``rl``.

    It does not show causes of any difference.
    """
    if not arms:
        raise ValueError("Give at least one arm, such as {'base': rollouts}.")
    if contrast and not {"base", "rl"} <= set(arms):
        raise ValueError("A contrast is set against RL minus base; name those arms 'rl' and 'base'.")
    read = tokens or {}
    tables = {arm: _per_problem(rollouts, read.get(arm), arm, tuned=arm == "rl") for arm, rollouts in arms.items()}
    shared = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    if not shared:
        raise ValueError(f"The arms {', '.join(arms)} have no problem in common; compare texts of the same problems.")
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for arm, table in tables.items():
        rows += [{"arm": arm, "quantity": name, **value} for name, value in _quantities([table.loc[shared]], options)]
    if {"base", "rl"} <= set(tables):
        pair = [tables["base"].loc[shared], tables["rl"].loc[shared]]
        rows += [{"arm": "rl - base", "quantity": name, **value} for name, value in _quantities(pair, options)]
    frame = pd.DataFrame(rows)[["arm", "quantity", "value", "low", "high", "n"]]
    contrasts = None
    if contrast:
        others = {name: _per_problem(one, read.get(name), name, tuned=True) for name, one in contrast.items()}
        gaps = {name: _gaps(tables["base"], table) for name, table in others.items()}
        contrasts = beside(_gaps(tables["base"], tables["rl"]), gaps, **options)
    record = manifest(measure="samples.writing", arms=list(arms), contrast=sorted(contrast or {}), **options)
    return Writing(frame, contrasts, manifest=record)


def _gaps(base: pd.DataFrame, tuned: pd.DataFrame) -> dict[str, Measured]:
    """Tuned minus base of every quantity that both have, over the problems that both have."""
    shared = sorted(set(base.index) & set(tuned.index))
    sides = [table.loc[shared] for table in (base, tuned)]
    out = {}
    for name in (name for name in base.columns if not name.startswith("_") and name in tuned.columns):
        values = np.stack([table[name].to_numpy(dtype=float) for table in sides], axis=1)
        within = GAP if name in SHARES else None
        out[f"{name}, rl - base"] = Measured.of_means(shared, values, _last_minus_first, within=within)
    pooled = np.concatenate([table[["_surprise", "tokens"]].to_numpy(dtype=float) for table in sides], axis=1)
    out["surprise, rl - base"] = Measured.of_means(shared, pooled, _ratio_difference)
    return {name: one for name, one in out.items() if one.problems}


def _per_problem(rollouts: Rollouts, tokens: pd.DataFrame | None, arm: str, *, tuned: bool) -> pd.DataFrame:
    """Sums and means of one arm, a row a problem."""
    frame = rollouts.frame
    lengths = frame["ids"].map(len).to_numpy(dtype=float)
    surprise = np.array([-float(np.sum(row)) if len(row) else np.nan for row in frame["logp"]])
    columns: dict[str, Any] = {
        "accuracy": frame["correct"],
        "tokens": lengths,
        "cut off": (frame["stop"] == "length").to_numpy(dtype=float),
        "_surprise": surprise,
    }
    found = {name: problem_means(values, frame["problem"]) for name, values in columns.items()}
    table = pd.DataFrame({name: means for name, (_, means) in found.items()}, index=found["tokens"][0])
    answers = frame.assign(answer=frame["answer"].map(str)).groupby("problem")["answer"].agg(["nunique", "size"])
    distinct = (answers["nunique"] / answers["size"]).where(answers["size"] > 1)
    table["distinct answers"] = distinct.reindex(table.index) if frame["answer"].notna().any() else np.nan
    if tokens is not None:
        column = "entropy_rl" if tuned else "entropy_base"
        if column not in tokens.columns:
            raise ValueError(f"The token table of {arm!r} has no column {column}; make it with hooks.score.")
        names, means = problem_means(tokens[column], tokens["problem"])
        table["entropy"] = pd.Series(means, index=names).reindex(table.index)
    return table


def _quantities(tables: list[pd.DataFrame], options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each quantity of one arm, or its difference second minus first; those that were not measured are left out."""
    out: list[tuple[str, Estimate]] = []
    names = [name for name in tables[0].columns if not name.startswith("_") and all(name in t.columns for t in tables)]
    for name in names:
        values = np.stack([table[name].to_numpy(dtype=float) for table in tables], axis=1)
        within = (1.0 - len(tables), 1.0) if name in SHARES else None
        out.append((name, bootstrap_table(values, _last_minus_first, within=within, **options)))
    pooled = np.concatenate([table[["_surprise", "tokens"]].to_numpy(dtype=float) for table in tables], axis=1)
    out.append(("surprise", bootstrap_table(pooled, _ratio_difference, **options)))
    return [(name, value.as_dict()) for name, value in out if value.measured]


def _last_minus_first(first: np.ndarray, *last: np.ndarray) -> np.ndarray:
    return last[0] - first if last else first


def _ratio_difference(part: np.ndarray, whole: np.ndarray, *other: np.ndarray) -> np.ndarray:
    return other[0] / other[1] - part / whole if other else part / whole
