"""Section "Is it already there?": can the strategy about to come be read in the base model, and used by steering it."""

from __future__ import annotations

import pandas as pd

from probes.report.beforehand import beforehand
from probes.report.blocks import Absent, Block, Fold, Heading, Section, Text
from probes.report.drawings import dose_response
from probes.report.folder import StudyReader
from probes.report.heatmap import heat_map
from probes.report.names import VECTORS
from probes.report.pictures import picture
from probes.report.steered import dose_curve
from probes.report.tables import Column, interval, table_of

PROBES = "It needs a probe sweep over base activations (stage “probes” of a study)."
STEERING = "It needs directions from base activations and steered generation (stage “steering” of a study)."

PROBE_COLUMNS = (
    Column("label", "Strategy", "text"),
    Column("place", "Place", "text"),
    Column("site", "Site", "text"),
    interval("auroc", "Probe AUROC", "auroc", ends=("low", "high")),
    Column("ceiling", "Best possible", "auroc", setting=True),
    Column("shuffled", "Shuffled", "auroc"),
    Column("position", "Position", "auroc"),
    Column("length", "Length", "auroc"),
    Column("bag", "Last tokens", "auroc"),
    Column("twin", "Untrained twin", "auroc"),
    Column("selectivity", "Selectivity", "auroc"),
    Column("rl_auroc", "On tuned", "auroc"),
    interval("rl_minus_base", "Tuned − base", "auroc"),
    Column("q", "q", "p", setting=True),
)

FOLDED = ("position", "length", "shuffled", "rl_auroc")
"""Columns of the whole table alone: what is reported has to fit a page."""
SIZES = (Column("n", "Rows", "count", setting=True), Column("positives", "Positives", "count", setting=True))

STEERING_COLUMNS = (
    Column("arm", "Arm", "text"),
    Column("label", "Strategy", "text"),
    Column("layer", "Layer", "count", setting=True),
    Column("alpha", "Dose", setting=True),
    Column("positions", "Places", "text"),
    interval("accuracy", "Accuracy", "share", ends=("low", "high")),
    interval("recovery", "Gain recovered", "share"),
    Column("strategy_share", "Strategy used", "share"),
    Column("kl_damage", "Damage (KL)", "nats"),
    Column("p", "p", "p", setting=True),
)


def already_there(reader: StudyReader) -> Section:
    """Layer × strategy heat map, probes beside their baselines, steering beside random vectors."""
    question = (
        "If the strategies are in the base model before any RL, its own activations should say which one is about to "
        "come, and a vector built from them alone should bring it out. A probe shows that something can be read, not "
        "that the model uses it; steering shows that it can be used."
    )
    blocks = (
        Heading("Probes on base activations"),
        *_probes(reader),
        *beforehand(reader),
        Heading("Steering the base model"),
        *_steering(reader),
    )
    return Section("already-there", "Is it already there?", "Already there?", question, blocks)


def _probes(reader: StudyReader) -> list[Block]:
    frame = reader.frame("probes")
    if frame is None and reader.figure("probes") is None:
        return [Absent("Probes", PROBES)]
    caption = (
        "How well the layer tells, before its first token, that the strategy is about to come. 0.5 is chance; what any "
        "probe could reach at best stands in the table."
    )
    drawn = None if frame is None else heat_map(frame)
    title = "Probe AUROC by layer and strategy"
    blocks: list[Block] = [picture(reader, "probes", drawn, title=title, caption=caption, needs=PROBES)]
    if frame is None:
        return blocks
    if {"label", "place"} <= set(frame.columns):
        # The place has a column of its own.
        bare = [
            str(label).removesuffix(f" ({place})") for label, place in zip(frame["label"], frame["place"], strict=True)
        ]
        frame = frame.assign(label=bare)
    reported = frame[frame["reported"].astype("boolean").fillna(False)] if "reported" in frame else frame.iloc[:0]
    note = (
        "Place: start is the first choice of a text, inner a later one. Best possible: the ceiling where the truth is "
        "known. Last tokens, position, length, shuffled: baselines that see no activation or wrong labels. Untrained "
        "twin: the same network with random weights. Selectivity: the lead over a control task with random labels. The "
        "layer was chosen on other problems than those it is scored on. q: false discovery rate over the sweep."
    )
    if len(reported):
        short = [column for column in PROBE_COLUMNS if column.name not in FOLDED]
        table = table_of(reported, short, "Reported probes beside their baselines", note=note)
        blocks.append(table)
    else:
        blocks.append(Text("No layer was chosen by nested selection; the whole curve is in the table below.", "note"))
    whole = table_of(frame, (*PROBE_COLUMNS, *SIZES), "Every probe of the sweep", note=note, sortable=True)
    return [*blocks, Fold(f"All {len(frame)} probes", (whole,))]


def _steering(reader: StudyReader) -> list[Block]:
    frame = reader.frame("steering")
    if frame is None and reader.figure("steering") is None:
        return [Absent("Steering", STEERING)]
    caption = (
        "Vectors come from base activations alone. Grey: controls of the same length. A learned vector says something "
        "only where it stands apart from them. Each mark is one vector with its interval."
    )
    drawn = None if frame is None else dose_response(frame)
    title = "Accuracy of the base model under steering"
    blocks: list[Block] = [picture(reader, "steering", drawn, title=title, caption=caption, needs=STEERING)]
    if frame is None:
        return blocks
    one_place = "positions" in frame and frame["positions"].nunique() <= 1
    left_out = (*(() if reader.identified else ("recovery",)), *(("positions",) if one_place else ()))
    columns = [column for column in STEERING_COLUMNS if column.name not in left_out]
    note = "Damage: divergence from the unsteered model on the same text. p: against the random vectors."
    if one_place and len(places := frame["positions"].dropna()):
        note += f" Steered at {places.iloc[0]}."
    table = table_of(_ordered(frame), columns, "Steered generation beside random vectors", note=note, sortable=True)
    runs = table if len(frame) <= 14 else Fold(f"All {len(frame)} steered runs", (table,))
    return [*blocks, *dose_curve(reader), runs]


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """References first, then learned vectors, then controls."""
    if "arm" not in frame:
        return frame
    rank = {"unsteered": 0, "rl": 1, "steered": 2}
    words = {**VECTORS, "unsteered": "base, unsteered", "rl": "tuned model"}
    ordered = frame.assign(_rank=[rank.get(str(arm), 3) for arm in frame["arm"]]).sort_values("_rank", kind="stable")
    return ordered.assign(arm=[words.get(str(arm), arm) for arm in ordered["arm"]])
