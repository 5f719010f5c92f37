"""What each dose of the chosen vector does: the strategy and the accuracy above, the damage beside them.

Drawn from the table ``steering_dose``, a row a dose, measured on problems on which vector and dose were not chosen.
What it does not show: the vectors it has to beat; they stand in the table of steered runs.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.blocks import Block
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of
from probes.report.theme import DASHES, LIGHT, MARKERS, axis, layout
from probes.report.wording import number

Spec = dict[str, Any]

NEEDS = "It needs steered generation at several doses (stage “steering” of a study)."
COLUMNS = (
    Column("alpha", "Dose", setting=True),
    interval("strategy_share", "Strategy used", "share"),
    interval("accuracy", "Accuracy", "share"),
    interval("accuracy_change", "Against dose 0", "points"),
    interval("kl", "Damage (KL)", "nats"),
    interval("perplexity", "Perplexity", "number"),
    interval("anti_steered", "Anti-steered", "share"),
)
LINES = (("strategy_share", "strategy used", "steered"), ("accuracy", "accuracy", "rl"))


def dose_curve(reader: StudyReader) -> list[Block]:
    """The curve over doses and its table; nothing where the study has none."""
    frame = reader.frame("steering_dose")
    if frame is None or not {"alpha", "strategy_share", "accuracy", "kl"} <= set(frame.columns):
        return []
    caption = (
        "The chosen vector at every dose, on problems it was not chosen on; bars are 95 % intervals over problems. "
        f"{_against(frame)}"
    )
    note = (
        "Damage: divergence from the unsteered model on its own texts. Perplexity: of unsteered texts without the "
        "strategy. Anti-steered: problems whose text moved against the sign of the dose."
    )
    title = "Strategy, accuracy and damage over the dose"
    return [
        picture(reader, "steering_dose", drawn(frame), title=title, caption=caption, needs=NEEDS),
        table_of(frame.sort_values("alpha"), COLUMNS, "Every dose of the chosen vector", note=note, sortable=True),
    ]


def drawn(frame: pd.DataFrame) -> Spec:
    """Shares above and KL below, over the dose."""
    frame = frame.sort_values("alpha")
    traces = [_trace(frame, name, words, ink, place, 100.0) for place, (name, words, ink) in enumerate(LINES)]
    kl = _trace(frame, "kl", "damage (KL, nats a token)", "violet", len(LINES), 1.0)
    relative = "relative" in frame and bool(frame["relative"].astype("boolean").fillna(False).all())
    return {
        "data": [*traces, {**kl, "yaxis": "y2"}],
        "layout": layout(
            height=520,
            xaxis=axis("Dose (typical norms)" if relative else "Dose (vector lengths)", anchor="y2"),
            yaxis=axis("Share of problems (%)", range=[-4, 104], domain=[0.4, 1.0]),
            yaxis2=axis("Damage (nats)", rangemode="tozero", domain=[0.0, 0.3]),
        ),
    }  # fmt: skip


def _trace(frame: pd.DataFrame, name: str, words: str, ink: str, place: int, scale: float) -> Spec:
    value = scale * frame[name]
    up, down = scale * frame[f"{name}_high"] - value, value - scale * frame[f"{name}_low"]
    bars = {"type": "data", "symmetric": False, "array": [number(end) for end in up],
            "arrayminus": [number(end) for end in down], "color": LIGHT[ink], "thickness": 1, "width": 3}  # fmt: skip
    return {
        "type": "scatter", "mode": "lines+markers", "name": words, "x": frame["alpha"].tolist(),
        "y": [number(one) for one in value], "error_y": bars,
        "line": {"color": LIGHT[ink], "width": 2, "dash": DASHES[place]},
        "marker": {"color": LIGHT[ink], "symbol": MARKERS[place], "size": 8},
        "hovertemplate": f"dose %{{x}}<br>{words} %{{y:.3g}}<extra></extra>",
    }  # fmt: skip


def _against(frame: pd.DataFrame) -> str:
    """The overall anti-steered share in a sentence; nothing where it was not measured."""
    ends = ("anti_steered_overall", "anti_steered_overall_low", "anti_steered_overall_high")
    if not set(ends) <= set(frame.columns) or frame[list(ends)].iloc[0].isna().any():
        return ""
    value, low, high = (100 * float(frame[name].iloc[0]) for name in ends)
    return f"In {value:.1f} % [{low:.1f}, {high:.1f}] of the problems the use of the strategy falls as the dose rises."
