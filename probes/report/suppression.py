"""Part of "What does it say?": what became of the base's right and wrong texts under the tuned model.

Drawn from the table ``suppression``, a row a figure. What it does not show: how the tuned model was trained.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.blocks import Block, Cell, Heading, Table
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.theme import LIGHT, axis, layout
from probes.report.wording import number, quantity

Spec = dict[str, Any]

NEEDS = "It needs both models' log-probabilities of graded base samples (stage “suppression” of a study)."
LEVELS = {"sequence": "By text (nats)", "token": "By token (nats)", "mass": "Class as a whole (nats)"}
QUANTITIES = {
    "right": "Right texts: log-ratio tuned / base",
    "wrong": "Wrong texts: log-ratio tuned / base",
    "right minus wrong": "Right minus wrong",
    "suppression share": "Suppression share",
}
MOVED = {
    ("moved", "right, base"): ("Probability on right texts, base", "share"),
    ("moved", "to right"): ("Probability moved to right texts", "points"),
    ("moved", "right, RL's own samples"): ("Right among the tuned model's own samples", "share"),
    ("moved", "effective samples"): ("Effective samples behind it", "count"),
    ("moved", "mean weight"): ("Mean importance weight (1 where the base's samples cover the tuned model)", "number"),
    ("new", "new mass"): ("Tuned texts that the base finds less than 1/1000 as likely", "share"),
    ("new", "new mass, right"): ("The same among right tuned texts", "share"),
}


def suppressed(reader: StudyReader) -> list[Block]:
    """The log-ratios of right and wrong texts, the shares, where the probability went; nothing where there is none."""
    frame = reader.frame("suppression", needs=("level", "quantity", "value", "low", "high"))
    if frame is None:
        return []
    known = {(str(row["level"]), str(row["quantity"])): row for row in frame.to_dict("records")}
    caption = (
        "How much likelier the tuned model finds the base's own texts than the base does. Averages under the base fall "
        "with any drift; right and wrong share one unit of probability, so that after a small shift the suppression "
        "share equals the base's accuracy."
    )
    title = "The base's texts under the tuned model"
    drawing = picture(reader, "suppression", drawn(frame), title=title, caption=caption, needs=NEEDS)
    return [Heading("Right texts raised, or wrong ones lowered"), drawing, _levels(known), _moved(known)]


def _levels(known: dict[tuple[str, str], dict[Any, Any]]) -> Table:
    rows = []
    for name, words in QUANTITIES.items():
        cells = [Cell(words)]
        cells += [_cell(known.get((level, name)), "share" if name.endswith("share") else "number") for level in LEVELS]
        rows.append(tuple(cells))
    reasons = {str(row["method"]) for row in known.values() if number(row.get("value")) is None and row.get("method")}
    note = "Not measured: " + "; ".join(sorted(reasons)) + "." if reasons else ""
    kinds = ("text", *["number"] * len(LEVELS))
    return Table("Suppression and amplification", ("The base's texts", *LEVELS.values()), kinds, tuple(rows), note=note)


def _moved(known: dict[tuple[str, str], dict[Any, Any]]) -> Table:
    rows = [(Cell(words), _cell(known[key], unit)) for key, (words, unit) in MOVED.items() if key in known]
    return Table("Where the probability went", ("Measure", "Value"), ("text", "number"), tuple(rows))


def _cell(row: dict[Any, Any] | None, unit: str) -> Cell:
    found = row or {}
    words = quantity(found.get("value"), found.get("low"), found.get("high"), unit=unit)
    return Cell(words.text, words.interval, "number" if words.measured else "none")


def drawn(frame: pd.DataFrame) -> Spec | None:
    """Log-ratios of right and wrong texts by text and by token, bars with intervals."""
    traces: list[Spec] = []
    for name, ink in (("right", "steered"), ("wrong", "rose")):
        rows = frame[(frame["quantity"] == name) & frame["level"].isin(list(LEVELS))].dropna(subset=["value"])
        if rows.empty:
            return None
        bars = {"type": "data", "symmetric": False, "array": (rows["high"] - rows["value"]).map(number).tolist(),
                "arrayminus": (rows["value"] - rows["low"]).map(number).tolist(), "thickness": 1}  # fmt: skip
        traces.append(
            {
                "type": "bar", "name": f"{name} texts", "x": [LEVELS[level] for level in rows["level"]],
                "y": rows["value"].map(number).tolist(), "error_y": bars, "marker": {"color": LIGHT[ink]},
                "hovertemplate": f"{name} texts<br>%{{x}}<br>%{{y:.3f}}<extra></extra>",
            }
        )  # fmt: skip
    return {
        "data": traces,
        "layout": layout(height=360, xaxis=axis(type="category", showgrid=False), yaxis=axis("Log-ratio (nats)")),
    }
