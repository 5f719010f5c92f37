"""AUROC of the base probe by layer and strategy as a heat map, one panel for each place where it was read.

The scale starts at chance (0.5), so a pale cell is one that knows nothing; cells below chance are as pale and their
number says so. What it does not show: intervals and baselines, which stand in the table beside it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.names import PLACES
from probes.report.theme import SEQUENTIAL, axis, layout
from probes.report.wording import number

CELL, SPACE, HEAD = 32, 52, 24
"""Pixels: height of a row of cells, room between panels, room for a panel's name."""

WRITTEN = 12
"""Layers up to which each cell has its number written in."""


def heat_map(frame: pd.DataFrame) -> dict[str, Any] | None:
    """The sweep as panels of cells; None when no AUROC was measured."""
    if not {"layer", "label", "auroc"} <= set(frame.columns):
        return None
    frame = frame.dropna(subset=["layer", "label", "auroc"])
    places = [place for place in dict.fromkeys(frame["place"]) if isinstance(place, str)] if "place" in frame else []
    parts = [(place, frame[frame["place"] == place]) for place in places] or [("", frame)]
    # Several sites of one layer share a cell: their mean is what the cell shows; the table has each.
    grids = [(place, part.pivot_table(index="label", columns="layer", values="auroc")) for place, part in parts]
    grids = [(place, grid) for place, grid in grids if not grid.empty]
    if not grids:
        return None
    tall = [CELL * len(grid) for _, grid in grids]
    whole = sum(tall) + SPACE * (len(grids) - 1) + HEAD
    data, axes, notes, top = [], {}, [], float(whole - HEAD)
    for row, (place, grid) in enumerate(grids):
        end = "" if row == 0 else str(row + 1)
        data.append(_panel(place, grid, end))
        domain = [max(top - tall[row], 0.0) / whole, top / whole]
        axes[f"yaxis{end}"] = axis(domain=domain, autorange="reversed", showgrid=False, type="category", ticks="")
        title = "Layer" if row == len(grids) - 1 else ""
        axes[f"xaxis{end}"] = axis(title, anchor=f"y{end}", type="category", showgrid=False, ticks="")
        if len(grids) > 1:
            notes.append(_name(place, domain[1]))
        top -= tall[row] + SPACE
    shades = {
        "cmin": 0.5,
        "cmax": 1.0,
        "colorscale": [list(stop) for stop in SEQUENTIAL],
        "colorbar": {"title": {"text": "AUROC"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
    }
    return {"data": data, "layout": layout(height=whole + 64, coloraxis=shades, annotations=notes, **axes)}


def _panel(place: str, grid: pd.DataFrame, end: str) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "x": [f"{layer:g}" if isinstance(layer, (int, float)) else str(layer) for layer in grid.columns],
        "y": [str(label).removesuffix(f" ({place})") for label in grid.index],
        "z": [[number(cell) for cell in line] for line in grid.to_numpy().tolist()],
        "xaxis": f"x{end}",
        "yaxis": f"y{end}",
        "coloraxis": "coloraxis",
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "texttemplate": "%{z:.2f}" if len(grid.columns) <= WRITTEN else "",
        "hovertemplate": f"layer %{{x}}<br>%{{y}}<br>AUROC %{{z:.3f}}<extra>{place}</extra>",
    }


def _name(place: str, top: float) -> dict[str, Any]:
    ends = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
    return {"text": PLACES.get(place, place), **ends, "showarrow": False, "font": {"size": 12}}
