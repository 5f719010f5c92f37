"""One palette for every figure: who is blue, who is orange, and how both look on a light and on a dark page.

Base is blue, the tuned model orange, steered text green, controls grey. The hues keep apart under the common kinds of
colour blindness, and every figure also gives each series its own marker and dash, so colour is never the only sign.
What it does not show: anything; it only dresses what other rooms measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go

BASE, RL, STEERED, CONTROL = "#0067A5", "#C25100", "#00795A", "#6B7280"
"""Ink of the base model, the tuned model, steered text and the controls on a light page."""

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "base": BASE,
        "rl": RL,
        "steered": STEERED,
        "control": CONTROL,
        "violet": "#7A4EA8",
        "ochre": "#8A6A00",
        "rose": "#B0447A",
        "slate": "#4B5563",
    }
)
"""Named inks on a light page; the first four have a fixed meaning, the others are for further series."""

DARK: Mapping[str, str] = MappingProxyType(
    {
        "base": "#63B3ED",
        "rl": "#F59E4C",
        "steered": "#41C79A",
        "control": "#9AA3B0",
        "violet": "#BA9BE3",
        "ochre": "#D8B74A",
        "rose": "#E68BB8",
        "slate": "#B4BCC8",
    }
)
"""The same inks on a dark page."""

SEQUENTIAL: tuple[tuple[float, str], ...] = (
    (0.0, "#EDF3F8"),
    (0.25, "#BCD5E8"),
    (0.5, "#77ACD0"),
    (0.75, "#2F7CB0"),
    (1.0, "#0B446F"),
)
"""Scale of a heat map from nothing to much on a light page."""

SEQUENTIAL_DARK: tuple[str, ...] = ("#1B222B", "#22405A", "#2A6491", "#4A94C8", "#A5D3F2")
"""The same five stops on a dark page."""

SERIES: tuple[str, ...] = ("rl", "base", "steered", "violet", "ochre", "rose", "slate")
"""Order in which unnamed series take their ink."""

MARKERS: tuple[str, ...] = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
DASHES: tuple[str, ...] = ("solid", "dash", "dot", "dashdot", "longdash")
"""Signs beside colour, taken in order."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
GRID, INK = "#E3E7EC", "#1D232B"


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Settings of one axis: a thin grid, no box, and room made for its labels."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"size": 13}},
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "zeroline": False,
        "automargin": True,
        **more,
    }


def reference_line(**ends: Any) -> dict[str, Any]:
    """A thin dotted line for a level to compare with, above the grid and below the data."""
    return {"type": "line", **ends, "line": {"color": CONTROL, "width": 1.2, "dash": "dot"}, "layer": "between"}


def layout(*, height: int = 400, **more: Any) -> dict[str, Any]:
    """Layout shared by all figures: transparent ground, system fonts, legend above the plot on the left."""
    return {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": INK},
        "colorway": [LIGHT[name] for name in SERIES],
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
            "title": {"text": ""},
        },
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "separators": ".\u2009",
        **more,
    }


def style(figure: go.Figure) -> go.Figure:
    """Dress a figure in the house's clothes; data, titles and annotations stay. Returns the same figure.

    Colours that a trace already has are kept: use :data:`LIGHT` for them and the report will know their dark twins.
    """
    figure.update_layout(template="none")
    figure.update_layout(**layout(height=figure.layout.height or 400))
    clothes = {key: value for key, value in axis().items() if key != "title"}
    figure.update_xaxes(**clothes)
    figure.update_yaxes(**clothes)
    return figure


def dark_twins() -> dict[str, str]:
    """Each light colour, in lower case, with the colour that replaces it on a dark page."""
    twins = {light.lower(): DARK[name] for name, light in LIGHT.items()}
    twins.update({light.lower(): dark for (_, light), dark in zip(SEQUENTIAL, SEQUENTIAL_DARK, strict=True)})
    return twins
