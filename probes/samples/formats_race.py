r"""Does the size of a model decide which format wins?  One run a size, each read by :func:`probes.samples.formats`.

With :math:`p_{mtf}` the share of format ``f`` at step ``t`` of the run of size ``m``, and :math:`a_{m0f}` its accuracy
at the start,

.. math:: winner_m = \arg\max_f p_{mTf}, \qquad best_m = \arg\max_f a_{m0f}, \qquad
          lead_m = a_{m0,winner} - \max_{f \ne winner} a_{m0f}.

A row a size has the winner, the best at the start, whether they are the same, and the winner's lead at the start. arXiv
2504.07912 reports that a model of 150M parameters ends in code and one of 1B in natural language on the same mixture,
and that the winner is usually, not always, the best at the start.

It assumes that the runs differ in size alone. What it does not show: that size made the difference; one run a size is
one draw of a winner a size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.samples.formats import Formats, formats


@dataclass(frozen=True, repr=False, eq=False)
class FormatRace(Result):
    """Who wins at which size."""

    frame: pd.DataFrame
    """A row a size: ``size``, ``winner``, ``share``, ``share_low``, ``share_high`` (of the winner, last checkpoint),
    ``best_at_start``, ``agrees`` (winner was the best at the start; missing where ungraded), ``lead``, ``lead_low``,
    ``lead_high``, ``collapse`` (step; missing where there is none)."""
    runs: Mapping[Any, Formats]
    """The formats of each run."""

    def headline(self) -> str:
        """The winners by size."""
        each = ", ".join(f"{size}: {winner}" for size, winner in zip(self.frame["size"], self.frame["winner"]))
        agree = self.frame["agrees"].dropna()
        return f"winner by size: {each}; the best at the start won {int(agree.sum())} of {len(agree)} (one run a size)"

    def plot(self) -> go.Figure:
        """The last shares of all formats by size."""
        figure = go.Figure()
        names = sorted(set().union(*(set(run.frame["format"]) for run in self.runs.values())))
        last = {size: run.frame[run.frame["step"] == run.frame["step"].max()] for size, run in self.runs.items()}
        for name in names:
            rows = [rows[rows["format"] == name] for rows in last.values()]
            share = [float(row["share"].iloc[0]) if len(row) else 0.0 for row in rows]
            figure.add_trace(go.Bar(x=[str(size) for size in last], y=share, name=name))
        return figure.update_layout(
            template="plotly_white", barmode="stack", xaxis={"title": "size", "type": "category"},
            yaxis={"title": "share of texts at the last checkpoint"},
        )  # fmt: skip


def format_race(
    runs: Mapping[Any, Mapping[int | float, Rollouts]],
    *,
    contrast: Mapping[Any, Mapping[str, Mapping[int | float, Rollouts]]] | None = None,
    **options: Any,
) -> FormatRace:
    """The winning format of one run a size.

    Args:
        runs: a series as for :func:`formats` by size, in the order of the sizes.
        contrast: by size, the series of other trainings of the same base by name ("random reward", "SFT"); what they
            do to the winner's share stands in ``runs[size].contrasts``.
        **options: of :func:`formats`, the same for all.

    Raises:
        ValueError: fewer than two sizes, a contrast of another size, or what :func:`formats` refuses.

    It does not show what another run of the same size would end in.
    """
    if len(runs) < 2:
        raise ValueError(f"A race of formats needs runs of >= 2 sizes, not {len(runs)}.")
    beside = contrast or {}
    unknown = [size for size in beside if size not in runs]
    if unknown:
        raise ValueError(
            f"There is a contrast of size {unknown[0]} and no run of it; give contrasts of the runs' sizes."
        )
    found = {size: formats(series, contrast=beside.get(size), **options) for size, series in runs.items()}
    rows = []
    for size, run in found.items():
        agrees = None if run.best_at_start is None else run.best_at_start == run.winner
        rows.append(
            {
                "size": size, "winner": run.winner, "share": run.winner_share.value,
                "share_low": run.winner_share.low, "share_high": run.winner_share.high,
                "best_at_start": run.best_at_start, "agrees": agrees, "lead": run.lead.value,
                "lead_low": run.lead.low, "lead_high": run.lead.high,
                "collapse": None if run.collapse is None else run.collapse.value,
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    record = manifest(measure="samples.format_race", sizes=[str(size) for size in found])
    return FormatRace(frame, found, manifest=record)
