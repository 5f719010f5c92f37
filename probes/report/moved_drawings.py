"""Figures of where the update lies and of what several runs have in common, drawn from the tables of a study.

Each function takes a table and gives a plotly figure as plain values, or None when the table cannot carry it. What is
expected by chance is grey and hollow. What they do not show: rows whose value is missing.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.theme import CONTROL, LIGHT, MARKERS, axis, layout
from probes.report.wording import number

Spec = dict[str, Any]

NULLS = (
    ("jaccard_null", "independent entries"),
    ("jaccard_sizes", "sizes of weights kept"),
    ("jaccard_stripes", "rows and columns kept"),
)
"""What chance would share, in words."""


def jaccard_beside_nulls(modules: pd.DataFrame) -> Spec | None:
    """Jaccard index of each module with its range over pairs of runs, beside its nulls."""
    if not {"module", "jaccard", "jaccard_null"} <= set(modules.columns):
        return None
    frame = modules.dropna(subset=["jaccard"])
    if frame.empty:
        return None
    names = frame["module"].astype(str).tolist()
    traces = [
        _marks(names, frame[column], words, CONTROL, place + 1)
        for place, (column, words) in enumerate(NULLS)
        if column in frame
    ]
    own = _marks(names, frame["jaccard"], "pairs of runs", LIGHT["rl"], 0)
    if {"jaccard_low", "jaccard_high"} <= set(frame.columns):
        high, low = frame["jaccard_high"] - frame["jaccard"], frame["jaccard"] - frame["jaccard_low"]
        ends = {"array": _plain(high), "arrayminus": _plain(low)}
        own["error_x"] = {"type": "data", "symmetric": False, **ends, "color": LIGHT["rl"], "thickness": 1, "width": 3}
    down = axis(autorange="reversed", type="category")
    shape = layout(height=150 + 30 * len(names), xaxis=axis("Jaccard index of the changed entries"), yaxis=down)
    return {"data": [*traces, own], "layout": shape}


def principal_by_matrix(frame: pd.DataFrame) -> Spec | None:
    """Share of each matrix's changed entries that are principal weights, beside random places and weight sizes."""
    if not {"tensor", "overlap", "overlap_null"} <= set(frame.columns):
        return None
    frame = frame.dropna(subset=["overlap"])
    if frame.empty:
        return None
    series = [("overlap_null", "random places", CONTROL), ("overlap_sizes", "by the sizes of weights", CONTROL)]
    traces = []
    for place, (column, words, ink) in enumerate([*series, ("overlap", "RL update", LIGHT["rl"])]):
        if column not in frame:
            continue
        marks = _marks(list(range(1, len(frame) + 1)), 100 * frame[column], words, ink, (place + 1) % 3, across=False)
        hover = f"%{{text}}<br>{words} %{{y:.1f}} %<extra></extra>"
        traces.append({**marks, "text": frame["tensor"].astype(str).tolist(), "hovertemplate": hover})
    up = axis("Changed entries that are principal (%)", rangemode="tozero")
    shape = layout(height=340, xaxis=axis("Matrix, in the order of the network", showgrid=False), yaxis=up)
    return {"data": traces, "layout": shape}


def changes_by_size(frame: pd.DataFrame) -> Spec | None:
    """Share of all entries by the size of their change, powers of two, with a line at the published tolerance."""
    if not {"low", "high", "share"} <= set(frame.columns):
        return None
    moved = frame[frame["high"] > 0]
    if moved.empty:
        return None
    middle = (moved["low"] * moved["high"]) ** 0.5
    bars = {
        "type": "bar", "x": _plain(middle), "y": _plain(100 * moved["share"]), "marker": {"color": LIGHT["rl"]},
        "hovertemplate": "about %{x:.1e}<br>%{y:.2f} %<extra></extra>",
    }  # fmt: skip
    line = {
        "type": "line", "x0": 1e-5, "x1": 1e-5, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": CONTROL, "dash": "dot", "width": 1},
    }  # fmt: skip
    across = axis("Size of the change", type="log", exponentformat="e")
    up = axis("Entries (%)", rangemode="tozero")
    return {"data": [bars], "layout": layout(height=300, xaxis=across, yaxis=up, shapes=[line])}


def _marks(names: list[Any], values: pd.Series, words: str, ink: str, place: int, *, across: bool = True) -> Spec:
    hollow = "-open" if ink == CONTROL else ""
    x, y = (_plain(values), names) if across else (names, _plain(values))
    marker = {"color": ink, "symbol": MARKERS[place % len(MARKERS)] + hollow, "size": 8}
    hover = f"%{{y}}<br>{words} %{{x:.3f}}<extra></extra>"
    return {
        "type": "scatter", "mode": "markers", "name": words, "x": x, "y": y, "marker": marker, "hovertemplate": hover,
    }  # fmt: skip


def _plain(values: pd.Series) -> list[float | None]:
    return [number(value) for value in values]
