"""Figures of what could be read before RL: probes moved between the models, directions, and k tokens ahead.

Each function takes a table of a study and gives a plotly figure as plain values, or None when the table cannot carry
it. Every point has its interval; controls are grey. What they do not show: rows without a value; the tables name those.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.theme import CONTROL, DASHES, LIGHT, MARKERS, axis, layout, reference_line
from probes.report.wording import number

Spec = dict[str, Any]

WAYS = (
    ("base", "base", "own", "base probe on the base", "base"),
    ("base", "rl", "raw", "base probe on the tuned model", "rose"),
    ("base", "rl", "turned", "the same after a rotation", "violet"),
    ("rl", "rl", "own", "tuned model's probe on itself", "rl"),
    ("rl", "base", "raw", "tuned model's probe on the base", "ochre"),
    ("rl", "base", "turned", "the same after a rotation, back", "slate"),
)
"""Whose probe, read on whom, in which space, in words, and the ink."""


def moved_probes(frame: pd.DataFrame) -> Spec | None:
    """AUROC of each way of reading, a line a label, at the layer that is quoted for it."""
    if not {"trained", "read", "space", "label", "text", "auroc", "reported"} <= set(frame.columns):
        return None
    frame = frame[frame["reported"].astype("boolean").fillna(False)].dropna(subset=["auroc"])
    named = frame.assign(name=frame["label"].astype(str) + ", " + frame["text"].astype(str))
    order = list(dict.fromkeys(named["name"]))
    traces: list[Spec] = []
    for place, (trained, read, space, words, ink) in enumerate(WAYS):
        part = named[(named["trained"] == trained) & (named["read"] == read) & (named["space"] == space)]
        if part.empty:
            continue
        # Ways of one label stand beside each other, so that their intervals do not hide each other.
        height = [order.index(name) + 0.12 * (place - 2.5) for name in part["name"]]
        marker = {"color": LIGHT[ink], "symbol": MARKERS[place % len(MARKERS)], "size": 8}
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": words, "x": _plain(part["auroc"]), "y": height,
                "marker": marker, "error_x": _ends(part, "auroc", "low", "high", LIGHT[ink]),
                "text": part["name"].tolist(),
                "hovertemplate": f"%{{text}}<br>{words}<br>AUROC %{{x:.3f}}<extra></extra>",
            }
        )  # fmt: skip
    if not traces:
        return None
    down = axis(tickvals=list(range(len(order))), ticktext=order, autorange="reversed", showgrid=False)
    shape = layout(height=150 + 62 * len(order), xaxis=axis("AUROC on problems held out"), yaxis=down)
    return {"data": traces, "layout": {**shape, "shapes": [_chance("x")]}}


def cosines_by_layer(frame: pd.DataFrame) -> Spec | None:
    """Cosine of the two models' directions from different problems, a line a label, with the bound of random ones."""
    if not {"site", "label", "text", "apart", "random"} <= set(frame.columns):
        return None
    frame = frame.assign(layer=frame["site"].astype(str).str.extract(r"(\d+)$", expand=False).astype(float))
    frame = frame.dropna(subset=["layer", "apart"])
    if frame.empty:
        return None
    several = frame["text"].nunique() > 1
    parts = list(frame.groupby(["text", "label"], sort=False))
    traces = []
    for place, ((text, label), part) in enumerate(parts):
        part = part.sort_values("layer")
        line = _line(f"{label}, {text}" if several else str(label), part, "layer", "apart", place)
        # Side by side, so that the intervals do not hide each other.
        aside = 0.06 * (place - (len(parts) - 1) / 2)
        traces.append({**line, "x": [layer + aside for layer in line["x"]], "text": line["x"],
                       "hovertemplate": line["hovertemplate"].replace("%{x}", "%{text}")})  # fmt: skip
    traces += [
        _bound(frame, column, dash) for column, dash in (("shuffled", "dash"), ("random", "dot")) if column in frame
    ]
    lowest = float(frame[[name for name in ("apart", "apart_low") if name in frame]].min().min())
    up = axis("Cosine, base and tuned direction", range=[max(-1.02, min(-0.2, lowest - 0.05)), 1.02])
    return {"data": traces, "layout": layout(height=430, xaxis=axis("Layer", dtick=_tick(frame["layer"])), yaxis=up)}


def ahead_curve(frame: pd.DataFrame, *, text: str = "base text") -> Spec | None:
    """AUROC k tokens ahead, a line a label, each with its baseline in grey."""
    if not {"k", "label", "text", "auroc", "baseline"} <= set(frame.columns):
        return None
    frame = frame[frame["text"] == text].dropna(subset=["auroc"])
    traces: list[Spec] = []
    for place, (label, part) in enumerate(frame.groupby("label", sort=True)):
        part = part.sort_values("k")
        traces.append({**_line(str(label), part, "k", "auroc", place), "legendgroup": str(label)})
        grey = {"color": CONTROL, "width": 1, "dash": DASHES[place % len(DASHES)]}
        symbol = {"color": CONTROL, "symbol": MARKERS[place % len(MARKERS)] + "-open", "size": 5}
        traces.append(
            {"type": "scatter", "mode": "lines+markers", "name": f"{label}, baseline", "legendgroup": str(label),
             "showlegend": False, "x": part["k"].tolist(), "y": _plain(part["baseline"]), "line": grey,
             "marker": symbol, "hovertemplate": f"{label}, last tokens and place<br>%{{y:.3f}}<extra></extra>"}
        )  # fmt: skip
    if not traces:
        return None
    across = axis("Tokens before the last one read at the choice", dtick=2)
    shape = layout(height=440, xaxis=across, yaxis=axis("AUROC on problems held out"))
    return {"data": traces, "layout": {**shape, "shapes": [_chance("y")]}}


BOUNDS = {"shuffled": "shuffled labels stay below", "random": "random directions stay below"}
"""Controls of a cosine, in words."""


def _bound(frame: pd.DataFrame, column: str, dash: str) -> Spec:
    """A control's largest cosine at each layer, as a grey line."""
    bound = frame.groupby("layer")[column].max()
    return {
        "type": "scatter", "mode": "lines", "name": BOUNDS[column], "x": list(bound.index), "y": _plain(bound),
        "line": {"color": CONTROL, "width": 1, "dash": dash},
        "hovertemplate": f"{BOUNDS[column]}: %{{y:.2f}}<extra></extra>",
    }  # fmt: skip


def _line(name: str, part: pd.DataFrame, x: str, y: str, place: int) -> Spec:
    ink = LIGHT[("base", "rl", "steered", "violet", "ochre", "rose", "slate")[place % 7]]
    low, high = ("low", "high") if y == "auroc" else (f"{y}_low", f"{y}_high")
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": part[x].tolist(),
        "y": _plain(part[y]),
        "line": {"color": ink, "width": 2, "dash": DASHES[place % len(DASHES)]},
        "marker": {"color": ink, "symbol": MARKERS[place % len(MARKERS)], "size": 7},
        "error_y": _ends(part, y, low, high, ink),
        "hovertemplate": f"{name}<br>{x} %{{x}}<br>%{{y:.3f}}<extra></extra>",
    }


def _ends(part: pd.DataFrame, value: str, low: str, high: str, ink: str) -> Spec:
    if not {low, high} <= set(part.columns):
        return {"visible": False}
    up, down = _plain(part[high] - part[value]), _plain(part[value] - part[low])
    return {
        "type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": ink, "thickness": 1, "width": 3,
    }  # fmt: skip


def _plain(values: pd.Series) -> list[float | None]:
    return [number(value) for value in values]


def _chance(along: str) -> Spec:
    """A thin line at one half."""
    other = "y" if along == "x" else "x"
    return reference_line(
        **{f"{along}0": 0.5, f"{along}1": 0.5, f"{other}ref": "paper", f"{other}0": 0, f"{other}1": 1}
    )


def _tick(layers: pd.Series) -> int | None:
    return 1 if float(layers.max()) < 20 else None
