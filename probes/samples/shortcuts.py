"""Did RL teach shortcuts?  Signs of degenerate texts of both models, by how hard the problems were for the base.

The signs of single texts are those of :mod:`probes.samples.shortcuts_signs`; here they are means over problems of the
means over samples, for the base, for the RL model, and RL minus base paired by problem. With enough base samples
(:mod:`probes.samples.hardness`) the differences also stand by difficulty bin, the base measured on samples that did not
choose the bin: there *contamination* is the change of accuracy on problems that the base had solved at least 7 times of
8. Of the gradient that a group-relative objective would take from the base's samples, ``rare_mass`` is the share of
successes' mass that lone successes carry, and ``rare_degenerate`` the share of that mass in degenerate texts.

The question is that of arXiv 2605.28388 (training on problems that are never solved teaches repetition, skipped
computation and bare answers); its own detectors could not be checked and these are ours. Assumes that both models
answered the same problems under the same decoding.

Few problems of a bin deviate, and its intervals are those of :mod:`probes.stats.weighted`: of unchanged models, with 60
problems in all and 16 samples, 3 to 6 % seem to have changed in one bin, where 5 should.

What it does not show: that training problems made the difference, unless the problems given are those of the training;
and a sign is no proof: a right answer may well be given bare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.samples.hardness import Bins
from probes.samples.shortcuts_bins import BIN_COLUMNS, bins_beside, by_bin, hard_share, nothing
from probes.samples.shortcuts_figures import SIGNS, both, paired, rare, rows_of
from probes.stats import Estimate
from probes.stats.contrast import Measured, beside

GROUP = 8
"""Samples of a group whose gradient is weighed."""


@dataclass(frozen=True, repr=False, eq=False)
class Shortcuts(Result):
    """Signs of shortcuts in the texts of a base and its RL model."""

    frame: pd.DataFrame
    """A row a quantity and arm (``base``, ``rl``, ``rl - base``): ``quantity``, ``arm``, ``value``, ``low``, ``high``,
    ``n``; the quantities of :data:`probes.samples.shortcuts_figures.QUANTITIES`, and ``length ratio`` of the arm
    ``rl / base``."""
    bins: pd.DataFrame
    """The same by difficulty: ``bin``, ``problems`` (expected number), ``quantity`` (degenerate, bare answer,
    accuracy), ``arm``, ``value``, ``low``, ``high``, ``n``; empty where the base has too few samples, see ``note``."""
    hard_share: Estimate
    """Share of problems that fall into the hard bin."""
    contamination: Estimate
    """RL minus base in accuracy on problems that were easy for the base; negative where they got worse."""
    rare_mass: Estimate
    """Share of successes' gradient mass, in groups of the base's samples, that lone successes carry."""
    rare_degenerate: Estimate
    """Share of that mass which lies in degenerate texts."""
    note: str
    """What could not be measured and why; empty where all was."""
    contrasts: pd.DataFrame | None = None
    """RL minus base of each contrast and ours minus it, over all problems and by difficulty, see
    :data:`probes.stats.contrast.COLUMNS`; None without."""

    def at(self, quantity: str, arm: str = "rl - base", *, difficulty: str | None = None) -> Estimate:
        """One number, over all problems or in one bin.

        Raises:
            ValueError: a quantity, arm or bin that is not in the tables.
        """
        table = self.frame if difficulty is None else self.bins[self.bins["bin"] == difficulty]
        rows = table[(table["quantity"] == quantity) & (table["arm"] == arm)]
        if rows.empty:
            raise ValueError(f"There is no {quantity!r} of {arm!r}{f' in {difficulty}' if difficulty else ''} here.")
        return _of(rows)

    def headline(self) -> str:
        """Degenerate texts of both models in a sentence."""
        base, rl, gap = (self.at("degenerate", arm) for arm in ("base", "rl", "rl - base"))
        return f"degenerate texts: base {base:.1%}, RL {rl:.1%}, RL minus base {gap:+.1%}" + (
            f" ({self.note})" if self.note else ""
        )

    def plot(self) -> go.Figure:
        """Shares of all signs, both models side by side."""
        figure = go.Figure()
        for arm, colour in (("base", "rgb(127,140,141)"), ("rl", "rgb(36,113,163)")):
            rows = self.frame[(self.frame["arm"] == arm) & self.frame["quantity"].isin(SIGNS)]
            bars = {
                "type": "data", "symmetric": False,
                "array": list(rows["high"] - rows["value"]), "arrayminus": list(rows["value"] - rows["low"]),
            }  # fmt: skip
            figure.add_trace(
                go.Bar(x=list(rows["quantity"]), y=list(rows["value"]), error_y=bars, name=arm, marker_color=colour)
            )
        return figure.update_layout(
            template="plotly_white", barmode="group", yaxis={"title": "share of texts", "rangemode": "tozero"},
            title=self.headline(),
        )  # fmt: skip


def shortcuts(
    base: Rollouts,
    rl: Rollouts,
    *,
    values: Mapping[str, Sequence[str]] | None = None,
    bins: Bins | None = None,
    group: int = GROUP,
    contrast: Mapping[str, Rollouts] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Shortcuts:
    """Signs of shortcuts in both models' texts, over all problems and by how hard they were for the base.

    Args:
        base: samples of the base, graded where difficulty and accuracy are wanted.
        rl: samples of the RL model on the same problems.
        values: intermediate values of each problem as text (:func:`probes.samples.shortcuts_signs.worked_values`).
        bins: edges of the difficulty bins; 7 to 8 of 8 easy, 1 to 6 medium, 0 hard by default.
        group: samples of a group whose gradient is weighed.
        contrast: samples of other models tuned from the same base, by name ("random reward", "SFT").
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: no problem in common.

    It does not show that what RL was trained on made the difference.
    """
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    edges = bins or Bins()
    tables = both(base, rl, values)
    figures = paired(tables)
    fewest = tables["base"].groupby("problem")["correct"].count().min()
    note = ""
    if fewest <= edges.draws:
        note = f"bins of difficulty need > {edges.draws} graded base samples of each problem, not {fewest}"
    by_difficulty = pd.DataFrame(columns=list(BIN_COLUMNS)) if note else by_bin(tables, edges, options)
    easy = by_difficulty[(by_difficulty["bin"] == "easy") & (by_difficulty["quantity"] == "accuracy")]
    mass = (nothing(level, note),) * 2 if fewest < group else rare(tables, group, options)
    contrasts = None
    if contrast:
        others = {name: both(base, other, values) for name, other in contrast.items()}
        contrasts = beside(_gaps(figures), {name: _gaps(paired(one)) for name, one in others.items()}, **options)
        if not note:
            contrasts = pd.concat([contrasts, bins_beside(tables, others, edges, options)], ignore_index=True)
    return Shortcuts(
        frame=rows_of(figures, options),
        bins=by_difficulty,
        hard_share=nothing(level, note) if note else hard_share(tables, edges, options),
        contamination=nothing(level, note) if note else _of(easy[easy["arm"] == "rl - base"], level),
        rare_mass=mass[0],
        rare_degenerate=mass[1],
        note=note,
        contrasts=contrasts,
        manifest=manifest(measure="samples.shortcuts", bins=edges.words, group=group, **options),
    )


def _gaps(figures: Mapping[str, Mapping[str, Measured]]) -> dict[str, Measured]:
    return {f"{quantity}, rl - base": arms["rl - base"] for quantity, arms in figures.items() if "rl - base" in arms}


def _of(rows: pd.DataFrame, level: float = 0.95) -> Estimate:
    row = rows.iloc[0]
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, int(row["n"]), "bootstrap over problems", level)
