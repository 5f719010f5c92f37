"""Part of "What does it say?": how well each model's confidence fits, by what it states and by its answer's tokens.

Drawn from the tables ``calibration`` and ``calibration_curve``. What it does not show: why a confidence is off.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.blocks import Block, Cell, Fold, Heading, Table, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of
from probes.report.theme import CONTROL, DASHES, LIGHT, MARKERS, axis, layout
from probes.report.wording import number, quantity

Spec = dict[str, Any]

FEW = 10
"""Samples below which a bin is too uncertain to draw."""
NEEDS = "It needs a confidence beside each graded answer (stage “calibration” of a study)."
ARMS = {"base": "Base", "rl": "Tuned", "rl - base": "Tuned − base"}
QUANTITIES = {
    "has a confidence": ("Texts with a confidence", "share"),
    "accuracy": ("Right among them", "share"),
    "confidence": ("Mean confidence", "share"),
    "brier": ("Brier score", "number"),
    "ece": ("Calibration error (ECE, 10 bins)", "number"),
    "ece, if calibrated": ("The same by chance alone", "number"),
    "ece, adaptive": ("Calibration error (bins of equal size)", "number"),
    "auroc": ("Right ranked above wrong (AUROC)", "auroc"),
}
CURVE = (
    Column("source", "Confidence", "text"),
    Column("arm", "Model", "text"),
    Column("bin", "Bin", "count", setting=True),
    Column("confidence", "Mean confidence", "share", setting=True),
    interval("accuracy", "Right", "share", ends=("low", "high")),
    Column("samples", "Samples", "count", setting=True),
)


def calibrated(reader: StudyReader) -> list[Block]:
    """A curve and a table for each source of confidence; nothing where there is none."""
    frame = reader.frame("calibration", needs=("arm", "source", "quantity", "value", "low", "high"))
    curve = reader.frame("calibration_curve", needs=("arm", "source", "bins", "confidence", "accuracy"))
    if frame is None:
        return []
    blocks: list[Block] = [Heading("Confidence")]
    record = reader.record("calibration")
    constant = record.get("constant")
    for source in dict.fromkeys(frame["source"]):
        own = frame[frame["source"] == source]
        blocks.append(_table(own, f"How well confidence fits: {_words(str(source))}"))
        same = constant.get(source) if isinstance(constant, dict) else None
        for arm, value in (same or {}).items():
            said = f"The {ARMS.get(arm, arm).lower()} model nearly always has the confidence {value:g}."
            blocks.append(
                Text(f"{said} Its ranking says nothing, and its error is the distance to the accuracy.", "note")
            )
    if (frame["source"] == "answer tokens").any():
        said = (
            "The probability of an answer's tokens is taken behind the model's own reasoning, which mostly settles it."
        )
        blocks.append(Text(said, "note"))
    if curve is not None:
        equal = curve[curve["bins"] == "equal width"]
        caption = (
            "Share right against mean confidence, bin by bin; on the dotted line a confidence is what it says. Bins of "
            f"fewer than {FEW} samples are in the table alone."
        )
        title = "Confidence against being right"
        blocks.insert(1, picture(reader, "calibration", drawn(equal), title=title, caption=caption, needs=NEEDS))
        named = equal.assign(arm=equal["arm"].map(lambda arm: ARMS.get(arm, arm)))
        blocks.append(Fold("Every bin", (table_of(named, CURVE, "Confidence by bin", sortable=True),)))
    return blocks


def _words(source: str) -> str:
    return {"stated": "as the texts state it", "answer tokens": "probability of the answer's tokens"}.get(
        source, source
    )


def _table(frame: pd.DataFrame, caption: str) -> Table:
    arms = [arm for arm in ARMS if (frame["arm"] == arm).any()]
    known = {(str(row["arm"]), str(row["quantity"])): row for row in frame.to_dict("records")}
    rows = []
    for name, (words, unit) in QUANTITIES.items():
        if not any((arm, name) in known for arm in arms):
            continue
        cells = [Cell(words)]
        for arm in arms:
            row = known.get((arm, name))
            shown = "points" if unit == "share" and arm == "rl - base" else unit
            # A row that a difference does not have was not left unmeasured; it does not apply.
            said = quantity(row["value"], row["low"], row["high"], unit=shown) if row else None
            cells.append(Cell(said.text, said.interval, "number" if said.measured else "none") if said else Cell("–"))
        rows.append(tuple(cells))
    note = "By chance alone: the error of a model whose every confidence is true, in as many samples."
    return Table(
        caption, ("Measure", *(ARMS[arm] for arm in arms)), ("text", *["number"] * len(arms)), tuple(rows), note
    )


def drawn(curve: pd.DataFrame) -> Spec | None:
    """Reliability curves of both models and all sources, with intervals and the diagonal."""
    traces: list[Spec] = [
        {"type": "scatter", "mode": "lines", "name": "what it says", "x": [0, 100], "y": [0, 100], "hoverinfo": "skip",
         "line": {"color": CONTROL, "dash": "dot", "width": 1}}
    ]  # fmt: skip
    if "samples" in curve:
        curve = curve[curve["samples"] >= FEW]
    for place, (source, part) in enumerate(curve.groupby("source", sort=False)):
        for arm, rows in part.groupby("arm", sort=True):
            ink = LIGHT.get(str(arm), CONTROL)
            right = 100 * rows["accuracy"]
            bars = {"type": "data", "symmetric": False, "color": ink, "thickness": 1, "width": 3,
                    "array": (100 * rows["high"] - right).map(number).tolist(),
                    "arrayminus": (right - 100 * rows["low"]).map(number).tolist()}  # fmt: skip
            name = f"{ARMS.get(str(arm), str(arm)).lower()} model, {source}"
            traces.append(
                {
                    "type": "scatter", "mode": "lines+markers", "name": name,
                    "x": (100 * rows["confidence"]).map(number).tolist(), "y": right.map(number).tolist(),
                    "error_y": bars, "line": {"color": ink, "width": 2, "dash": DASHES[place % len(DASHES)]},
                    "marker": {"color": ink, "symbol": MARKERS[place % len(MARKERS)], "size": 8},
                    "hovertemplate": f"{name}<br>confidence %{{x:.0f}} %<br>right %{{y:.1f}} %<extra></extra>",
                }
            )  # fmt: skip
    if len(traces) == 1:
        return None
    across, up = axis("Mean confidence (%)", range=[-4, 104]), axis("Right (%)", range=[-4, 104])
    return {"data": traces, "layout": layout(height=420, xaxis=across, yaxis=up)}
