"""Part of "What does it say?": whether the base catches up where its samples vote, beside pass@k.

Drawn from the table ``majority``. What it does not show: whether the reasoning behind the winning answer is right.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.blocks import Block, Fold, Heading, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of, with_differences
from probes.report.theme import LIGHT, axis, layout
from probes.report.wording import number, quantity

Spec = dict[str, Any]

NEEDS = "It needs several graded samples of each problem from both models (stage “samples” of a study)."
ARMS = {"base": "base", "rl": "tuned", "rl - base": "tuned − base"}
COLUMNS = (
    Column("model", "Model", "text"),
    Column("k", "k", "count", setting=True),
    interval("value", "maj@k", "share", ends=("low", "high"), units="unit"),
)


def voted(reader: StudyReader) -> list[Block]:
    """The curve of votes, what voting gives the base, and every k; nothing where the study has none."""
    frame = reader.frame("majority", needs=("k", "model", "value", "low", "high"))
    if frame is None:
        return []
    caption = (
        "Share of problems whose most frequent answer of k samples is right; bars are intervals over problems. Voting "
        "needs nobody who knows the answer: what it gives the base, RL had no need to teach."
    )
    blocks: list[Block] = [
        Heading("By a vote of many"),
        picture(reader, "majority", drawn(frame), title="maj@k", caption=caption, needs=NEEDS),
    ]
    told = reader.record("majority").get("voting")
    if isinstance(told, dict):
        words = quantity(told.get("value"), told.get("low"), told.get("high"), unit="points")
        k = int(frame["k"].max())
        said = f"The base by {k} votes minus the tuned model at one try: {words.text} ({words.interval})."
        blocks.insert(1, Text(said, "finding"))
    named = with_differences(frame).assign(model=frame["model"].map(ARMS))
    return [*blocks, Fold("maj@k at every k", (table_of(named, COLUMNS, "maj@k", sortable=True),))]


def drawn(frame: pd.DataFrame) -> Spec | None:
    """maj@k of both models over log k, with intervals."""
    traces: list[Spec] = []
    for model, rows in frame[frame["model"].isin(("base", "rl"))].groupby("model", sort=True):
        value, ink = 100 * rows["value"], LIGHT[str(model)]
        bars = {"type": "data", "symmetric": False, "color": ink, "thickness": 1, "width": 3,
                "array": (100 * rows["high"] - value).map(number).tolist(),
                "arrayminus": (value - 100 * rows["low"]).map(number).tolist()}  # fmt: skip
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": f"{ARMS[str(model)]} model",
                "x": rows["k"].tolist(), "y": value.map(number).tolist(), "error_y": bars,
                "line": {"color": ink, "width": 2}, "marker": {"color": ink, "size": 8},
                "hovertemplate": f"{ARMS[str(model)]} model<br>k = %{{x}}<br>%{{y:.1f}} %<extra></extra>",
            }
        )  # fmt: skip
    if not traces:
        return None
    across = axis("k (votes)", type="log")
    return {"data": traces, "layout": layout(height=360, xaxis=across, yaxis=axis("maj@k (%)", range=[-2, 102]))}
