"""Plotly figures made safe to sit inside a page: no script, no network, transparent ground.

A figure arrives as the JSON of plotly, from the study or from :mod:`probes.report.drawings`. Its strings may hold text
that a model wrote, so only the few tags that plotly needs for line breaks and emphasis stay tags; everything else shows
as text. Traces that would fetch tiles or outlines are dropped, and pictures that are not inside the figure are removed.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from markupsafe import Markup

from probes.report.blocks import Figure
from probes.report.theme import CONTROL, layout

OFFLINE_TRACES = frozenset(
    """
    bar barpolar box contour funnel heatmap histogram histogram2d histogram2dcontour indicator pie sankey scatter
    scatterpolar scatterternary splom sunburst table treemap violin waterfall
    """.split()  # noqa: SIM905
)
"""Kinds of trace that plotly draws as SVG from the figure alone."""

_FLAT_TWIN = {"scattergl": "scatter", "scatterpolargl": "scatterpolar", "heatmapgl": "heatmap"}
# The page's own heading says what a figure is; a second title would collide with the legend. Maps fetch tiles.
_UNWANTED = frozenset({"template", "title", "images", "width", "mapbox", "map", "geo"})
_AXIS = re.compile(r"^[xy]axis\d*$")
_TAG = re.compile(r"<(?!/?(?:br|b|i|em|sub|sup|extra)\s*/?>)", re.IGNORECASE)


def embed(spec: dict[str, Any], *, name: str, title: str, caption: str) -> Figure | None:
    """A figure for the page, or None when nothing in it can be drawn without a network.

    Args:
        spec: a plotly figure as plain JSON values (``json.loads(figure.to_json())``).
        name: unique on the page; letters, digits and hyphens.
        title: what the figure is, in a few words; read aloud in place of the picture.
        caption: what to see in it.
    """
    dressed = dress(spec)
    return Figure(name, title, caption, script_json(dressed)) if dressed["data"] else None


def dress(spec: dict[str, Any]) -> dict[str, Any]:
    """The same figure, safe and without a ground of its own; the input is left as it is."""
    traces = [_trace(trace) for trace in spec.get("data", []) if isinstance(trace, dict)]
    given = spec.get("layout")
    given = _safe(given) if isinstance(given, dict) else {}
    house = layout()
    page = {key: value for key, value in given.items() if key not in _UNWANTED}
    page["legend"] = {**house["legend"], **(given.get("legend") or {})}
    page = {**house, **page, "paper_bgcolor": house["paper_bgcolor"], "plot_bgcolor": house["plot_bgcolor"]}
    page |= {
        name: _axis(value, _values(traces, name))
        for name, value in page.items()
        if _AXIS.match(name) and isinstance(value, dict)
    }
    shapes, notes = (
        [one for one in page.get(name) or [] if isinstance(one, dict)] for name in ("shapes", "annotations")
    )
    page["shapes"] = [_shape(one) for one in shapes]
    if any(_over_panel(one) for one in notes):
        # The names of panels stand where the legend would.
        page["legend"] = {**page["legend"], "y": -0.22, "yanchor": "top"}
        page["margin"] = {**page["margin"], "t": max(32, page["margin"].get("t", 0))}
        page["annotations"] = [
            {**one, "font": {**(one.get("font") or {}), "size": 12}} if _over_panel(one) else one for one in notes
        ]
    return {"data": [trace for trace in traces if trace is not None], "layout": page}


def _values(traces: list[dict[str, Any] | None], name: str) -> list[float]:
    """The numbers that traces put on an axis."""
    letter, short = name[0], name.replace("axis", "")
    own = [trace for trace in traces if trace is not None and trace.get(f"{letter}axis", letter) == short]
    listed = [trace.get(letter) for trace in own]
    found = [value for values in listed if isinstance(values, list) for value in values]
    return [float(value) for value in found if isinstance(value, (int, float))]


def _axis(given: dict[str, Any], values: list[float]) -> dict[str, Any]:
    """The same axis with a title of the page's size and few enough ticks."""
    title = given.get("title")
    title = title if isinstance(title, dict) else {"text": str(title or "")}
    out = {**given, "title": {"standoff": 10, **title, "font": {**(title.get("font") or {}), "size": 13}}}
    shown = [value for value in values if value > 0] if given.get("type") == "log" else []
    if shown and not {"dtick", "tickvals"} & set(given) and max(shown) < 1e3 * min(shown):
        # Plotly would name the twos and fives without their power of ten.
        powers = range(math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown))) + 1)
        out["tickvals"] = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return out


def _shape(given: dict[str, Any]) -> dict[str, Any]:
    """The same line; one without a colour of its own takes that of the controls, which has a dark twin."""
    line = given.get("line") or {}
    return {**given, "line": {"color": CONTROL, "width": 1, **line}} if given.get("type") == "line" else given


def _over_panel(note: dict[str, Any]) -> bool:
    """Whether an annotation is the name of one of several panels, as plotly's subplots write it."""
    return note.get("yref") == "paper" and note.get("xref") == "paper" and note.get("xanchor") == "center"


def script_json(value: Any) -> Markup:
    """JSON that cannot end its script element: ``<``, ``>``, ``&`` and the two line separators are written as escapes.

    NaN and infinity, which JSON lacks, become null.
    """
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def mentions(value: object, word: str) -> bool:
    """Whether a text, or a figure or record anywhere in it, says a word."""
    return word.lower() in json.dumps(value, default=str, ensure_ascii=False).lower()


def _trace(trace: dict[str, Any]) -> dict[str, Any] | None:
    kind = str(trace.get("type", "scatter"))
    kind = _FLAT_TWIN.get(kind, kind)
    return {**_safe(trace), "type": kind} if kind in OFFLINE_TRACES else None


def _safe(value: Any) -> Any:
    """Strings with every unknown tag turned into text; plotly reads the entity back as the character."""
    if isinstance(value, dict):
        return {key: _safe(item) for key, item in value.items() if key != "template"}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return _TAG.sub("&lt;", value) if isinstance(value, str) else value


def _finite(value: Any) -> Any:
    if hasattr(value, "tolist") and not isinstance(value, (str, bytes)):
        value = value.tolist()  # numpy's numbers and arrays, which JSON does not know
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
