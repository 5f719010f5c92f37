"""The report's own figures, drawn from the tables of a study when the study brought none.

Each function takes a table and gives a plotly figure as plain values, or None when the table cannot carry it. Every
series has its own marker and dash beside its ink; intervals are bars or bands; controls are grey.
What they do not show: rows whose value is missing; those stay in the table as "not measured".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from probes.report.names import CONTROLS, VECTORS
from probes.report.theme import CONTROL, DASHES, LIGHT, MARKERS, axis, layout, reference_line
from probes.report.wording import missing, number

Spec = dict[str, Any]


def by_routed_share(
    frame: pd.DataFrame, *, value: Literal["recovery", "accuracy"], levels: Sequence[tuple[str, float]] = ()
) -> Spec | None:
    """``value`` against the routed share; ``levels`` are named horizontal lines.

    A gate is a line over its thresholds and a control is hollow and grey, one line a kind; where the table does not say
    ``kind``, every arm and gate is a line and ``control`` marks the controls.
    """
    if not {"routed", value} <= set(frame.columns):
        return None
    frame = frame.dropna(subset=["routed", value])
    keys = [name for name in ("arm", "gate") if name in frame.columns]
    if {"kind", "gate"} <= set(frame.columns):
        gate = frame["kind"] == "gate"
        named = ("gate: " + frame["gate"].astype(str)).where(gate, frame["kind"].astype(str).replace(dict(CONTROLS)))
        frame, keys = frame.assign(series=named, control=~gate), ["series"]
    traces: list[Spec] = []
    inks = iter(["rl", "violet", "ochre", "rose", "slate"] * 8)
    for place, (label, part) in enumerate(_series(frame, keys)):
        part = part.sort_values("routed")
        control = bool(part["control"].astype("boolean").fillna(False).all()) if "control" in part else False
        ink = CONTROL if control else LIGHT["steered" if "steer" in label.lower() else next(inks)]
        known = {"text": part["arm"].astype(str).tolist()} if "arm" in part else {}
        traces.append(
            {
                **_line(label, 100 * part["routed"], 100 * part[value], ink, place, hollow=control),
                **known,
                "error_y": _bars(100 * part[value], part, value, ink),
                "hovertemplate": f"%{{text}}<br>routed %{{x:.1f}} %<br>{value} %{{y:.1f}} %<extra></extra>",
            }
        )
    if not traces:
        return None
    lines, notes = _levels([(name, 100 * level) for name, level in levels])
    across = axis("Tokens routed (%)", range=[0, 112 * float(frame["routed"].max())])
    up = axis("Share of the gain recovered (%)" if value == "recovery" else "Accuracy (%)")
    shape = layout(height=440, xaxis=across, yaxis=up, shapes=lines, annotations=notes)
    return {"data": traces, "layout": shape}


def dose_response(frame: pd.DataFrame) -> Spec | None:
    """Accuracy against the dose of steering, learned vectors beside random ones; the unsteered base is a level."""
    if not {"alpha", "arm", "accuracy"} <= set(frame.columns):
        return None
    levels = []
    for arm, name in (("unsteered", "base, unsteered"), ("rl", "tuned model")):
        found = frame.loc[frame["arm"] == arm, "accuracy"].dropna()
        if len(found):
            levels.append((name, 100 * float(found.iloc[0])))
    doses = frame[~frame["arm"].isin(["unsteered", "rl"])].dropna(subset=["alpha", "accuracy"])
    traces: list[Spec] = []
    if len(doses) and doses["alpha"].nunique() == 1:
        return _one_dose(doses, levels)
    inks = iter(["steered", "violet", "ochre", "rose", "slate", "rl"] * 8)
    keys = [name for name in ("arm", "label", "layer", "positions") if name in doses.columns]
    for place, (label, part) in enumerate(_series(doses, keys)):
        part = part.sort_values("alpha")
        control = str(part["arm"].iloc[0]) != "steered"
        ink = CONTROL if control else LIGHT[next(inks)]
        traces.append(
            {
                **_line(label, part["alpha"], 100 * part["accuracy"], ink, place, hollow=control),
                "error_y": _bars(100 * part["accuracy"], part, "accuracy", ink),
                "hovertemplate": f"{label}<br>dose %{{x}}<br>accuracy %{{y:.1f}} %<extra></extra>",
            }
        )
    if not traces:
        return None
    relative = "relative" in doses and bool(doses["relative"].astype("boolean").fillna(False).all())
    lines, notes = _levels(levels)
    unit = "Dose (typical norms)" if relative else "Dose (coefficient)"
    return {
        "data": traces,
        "layout": layout(height=420, xaxis=axis(unit), yaxis=axis("Accuracy (%)"), shapes=lines, annotations=notes),
    }


def _one_dose(frame: pd.DataFrame, levels: list[tuple[str, float]]) -> Spec:
    """Accuracy at the one dose that was run: each kind of vector in a column, its vectors side by side."""
    kinds = list(dict.fromkeys(frame["arm"].astype(str)))
    traces, widest = [], max(frame["arm"].value_counts())
    for place, kind in enumerate(kinds):
        part = frame[frame["arm"].astype(str) == kind].sort_values("accuracy")
        control = kind != "steered"
        ink = CONTROL if control else LIGHT["steered"]
        across = [place + 0.7 * (at - (len(part) - 1) / 2) / max(widest, 2) for at in range(len(part))]
        name = VECTORS.get(kind, kind.replace("_", " "))
        labels = part["label"].astype(str).tolist() if "label" in part else [name] * len(part)
        traces.append(
            {
                **_line(name, across, 100 * part["accuracy"], ink, place, hollow=control), "mode": "markers",
                "error_y": _bars(100 * part["accuracy"], part, "accuracy", ink), "text": labels, "showlegend": False,
                "hovertemplate": f"{name}: %{{text}}<br>accuracy %{{y:.1f}} %<extra></extra>",
            }
        )  # fmt: skip
    dose = number(frame["alpha"].iloc[0])
    relative = "relative" in frame and bool(frame["relative"].astype("boolean").fillna(False).all())
    said = f"One dose: {dose:g} {'typical norms' if relative else 'vector lengths'}"
    words = [VECTORS.get(kind, kind.replace("_", " ")).replace(" ", "<br>", 1) for kind in kinds]
    columns = axis(
        said, tickvals=list(range(len(kinds))), ticktext=words, range=[-0.6, len(kinds) + 0.2], showgrid=False
    )
    lines, notes = _levels(levels)
    shape = layout(height=420, xaxis=columns, yaxis=axis("Accuracy (%)"), shapes=lines, annotations=notes)
    return {"data": traces, "layout": shape}


def pass_at_k(frame: pd.DataFrame, *, crossing: float | None = None) -> Spec | None:
    """pass@k of both models with their bands, k on a doubling scale; ``crossing`` is marked where it is known."""
    if not {"model", "k", "value"} <= set(frame.columns):
        return None
    frame = frame[frame["model"].isin(list(MODELS))].dropna(subset=["k", "value"])
    traces: list[Spec] = []
    for place, (model, part) in enumerate(frame.groupby("model", sort=True)):
        part, name = part.sort_values("k"), str(model)
        ink = LIGHT[name]
        k = part["k"].tolist()
        if {"low", "high"} <= set(part.columns) and part["low"].notna().any():
            traces.append(_band(k, 100 * part["low"], 100 * part["high"], ink, group=name))
        hover = f"{MODELS[name]}<br>k = %{{x}}<br>pass@k %{{y:.1f}} %<extra></extra>"
        line = _line(MODELS[name], k, 100 * part["value"], ink, place)
        traces.append({**line, "legendgroup": name, "hovertemplate": hover})
    if not traces:
        return None
    ticks = [2**power for power in range(12) if 2**power <= float(frame["k"].max())]
    across = axis("k (samples a problem)", type="log", tickvals=ticks, ticktext=[str(k) for k in ticks])
    up = axis("Problems solved at least once (%)")
    marks: list[Spec] = []
    if crossing is not None and 1 <= crossing <= float(frame["k"].max()):
        marks.append(reference_line(x0=crossing, x1=crossing, yref="paper", y0=0, y1=1))
    return {"data": traces, "layout": layout(height=420, xaxis=across, yaxis=up, shapes=marks)}


def changed_by_layer(frame: pd.DataFrame) -> Spec | None:
    """Share of entries that changed in bfloat16, by layer, a mark for every tensor."""
    if not {"layer", "unchanged_bf16"} <= set(frame.columns):
        return None
    frame = frame.dropna(subset=["layer", "unchanged_bf16"])
    traces: list[Spec] = []
    for place, (label, part) in enumerate(_series(frame, ["module"] if "module" in frame else [])):
        part = part.sort_values("layer")
        # Inks without a meaning of their own: a module is neither model.
        ink = LIGHT[("violet", "ochre", "rose", "slate", "control")[place % 5]]
        names = part["tensor"].astype(str).tolist() if "tensor" in part else [label] * len(part)
        traces.append(
            {
                **_line(label, part["layer"], 100 * (1 - part["unchanged_bf16"]), ink, place),
                "text": names,
                "hovertemplate": "%{text}<br>changed %{y:.1f} %<extra></extra>",
            }
        )
    across = axis("Layer", dtick=1 if len(frame) and frame["layer"].max() < 20 else None)
    down = axis("Entries changed (%)", rangemode="tozero")
    return {"data": traces, "layout": layout(height=400, xaxis=across, yaxis=down)} if traces else None


def rank_beside_null(frame: pd.DataFrame) -> Spec | None:
    """Stable rank of each tensor's update beside the same entries shuffled: a null that knows the size alone."""
    if not {"stable_rank", "stable_rank_null"} <= set(frame.columns):
        return None
    frame = frame.dropna(subset=["stable_rank", "stable_rank_null"])
    if frame.empty:
        return None
    traces: list[Spec] = []
    series = (("stable_rank", "update", LIGHT["rl"]), ("stable_rank_null", "entries shuffled", CONTROL))
    for place, (column, name, ink) in enumerate(series):
        line = _line(name, range(1, len(frame) + 1), frame[column], ink, place, hollow=place > 0)
        names = frame["tensor"].astype(str).tolist() if "tensor" in frame else None
        hover = f"%{{text}}<br>{name} %{{y:.1f}}<extra></extra>"
        traces.append({**line, "mode": "markers", "text": names, "hovertemplate": hover})
    down = axis("Stable rank", type="log")
    shape = layout(height=340, xaxis=axis("Matrix, in the order of the network", showgrid=False), yaxis=down)
    return {"data": traces, "layout": shape}


def strategy_bars(frame: pd.DataFrame, *, value: str = "per_text") -> Spec | None:
    """How often each strategy is used by each model."""
    if not {"model", "strategy", value} <= set(frame.columns):
        return None
    frame = frame.dropna(subset=[value])
    order = sorted(set(frame["strategy"]))
    traces = []
    for model, part in frame.groupby("model", sort=True):
        name, values = str(model), part.set_index("strategy")[value]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": MODELS.get(name, name),
                "y": order,
                "x": [number(values.get(strategy)) for strategy in order],
                "marker": {"color": LIGHT.get(name, CONTROL), "pattern": {"shape": "/" if name == "rl" else ""}},
                "hovertemplate": f"%{{y}}<br>{name} %{{x:.2f}}<extra></extra>",
            }
        )
    down = axis(autorange="reversed", type="category")
    shape = layout(height=130 + 44 * len(order), xaxis=axis("Times a text"), yaxis=down, bargap=0.35)
    return {"data": traces, "layout": shape} if traces else None


def places_in_text(frame: pd.DataFrame) -> Spec | None:
    """Where in the text the gate opens: bars over the relative position.

    With ``start`` and ``stop`` the share is of the tokens in that part of the text; with ``relative_position`` it is of
    all routed tokens.
    """
    parts = {"start", "stop", "share"} <= set(frame.columns)
    if not parts and not {"relative_position", "share"} <= set(frame.columns):
        return None
    middle = (frame["start"] + frame["stop"]) / 2 if parts else frame["relative_position"]
    frame = frame.assign(middle=middle).dropna(subset=["middle", "share"]).sort_values("middle")
    if frame.empty:
        return None
    said = "of its tokens are routed" if parts else "of the routed tokens"
    bars = {
        "type": "bar",
        "x": (100 * frame["middle"]).tolist(),
        "y": (100 * frame["share"]).tolist(),
        "marker": {"color": LIGHT["rl"]},
        "error_y": _bars(100 * frame["share"], frame, "share", CONTROL),
        "hovertemplate": f"%{{x:.0f}} % into the text<br>%{{y:.1f}} % {said}<extra></extra>",
    }
    down = axis("Tokens routed there (%)" if parts else "Part of the routed tokens (%)", rangemode="tozero")
    return {"data": [bars], "layout": layout(height=300, xaxis=axis("Place in the text (%)"), yaxis=down, bargap=0.12)}


MODELS = {"base": "base model", "rl": "tuned model"}
"""Models in words."""


def _series(frame: pd.DataFrame, keys: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The parts of a table and their names; a key that never varies is left out of the name."""
    if not keys or frame.empty:
        return [("all", frame)] if not frame.empty else []
    varying = [key for key in keys if frame[key].nunique(dropna=False) > 1] or keys[:1]
    parts = []
    for values, part in frame.groupby(keys, sort=False, dropna=False):
        named = dict(zip(keys, values, strict=True))
        words = [
            f"layer {named[key]}" if key == "layer" else str(named[key]) for key in varying if not missing(named[key])
        ]
        parts.append((" · ".join(dict.fromkeys(words)) or "all", part))
    return parts


def _line(name: str, x: Any, y: Any, ink: str, place: int, *, hollow: bool = False) -> Spec:
    marker = MARKERS[place % len(MARKERS)] + ("-open" if hollow else "")
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": ink, "width": 2, "dash": DASHES[place % len(DASHES)]},
        "marker": {"color": ink, "symbol": marker, "size": 8, "line": {"width": 1.5, "color": ink}},
    }


def _bars(y: pd.Series, part: pd.DataFrame, value: str, ink: str) -> Spec:
    """Interval of each point as a bar in percent; points without one have none."""
    low, high = (f"{value}_low", f"{value}_high") if f"{value}_low" in part else ("low", "high")
    if low not in part or high not in part:
        return {"visible": False}
    up, down = (100 * part[high] - y).tolist(), (y - 100 * part[low]).tolist()
    ends = {"array": [number(end) for end in up], "arrayminus": [number(end) for end in down]}
    return {"type": "data", "symmetric": False, **ends, "color": ink, "thickness": 1, "width": 3}


def _band(x: list[Any], low: pd.Series, high: pd.Series, ink: str, *, group: str) -> Spec:
    red, green, blue = (int(ink[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "scatter",
        "x": x + x[::-1],
        "y": high.tolist() + low.tolist()[::-1],
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.16)",
        "line": {"width": 0, "color": ink},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": group,
    }


def _levels(levels: Sequence[tuple[str, float]]) -> tuple[list[Spec], list[Spec]]:
    lines, notes = [], []
    top = max((level for _, level in levels), default=0.0)
    for name, level in levels:
        lines.append(reference_line(xref="paper", x0=0, x1=1, y0=level, y1=level))
        # The upper name stands above its line and the lower one beneath, so that close levels stay legible.
        side = "bottom" if level == top else "top"
        notes.append(
            {"text": name, "xref": "paper", "x": 1, "xanchor": "right", "y": level, "yanchor": side,
             "showarrow": False, "font": {"size": 11, "color": CONTROL}}
        )  # fmt: skip
    return lines, notes
