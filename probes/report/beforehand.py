"""Blocks of "Is it already there?": what both models' probes and directions say at the same tokens."""

from __future__ import annotations

import pandas as pd

from probes.report.before_drawings import ahead_curve, cosines_by_layer, moved_probes
from probes.report.blocks import Block, Bullets, Fold, Heading, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.reading_rule import RULE, reading
from probes.report.tables import Column, interval, table_of

NEEDS = "It needs both models' activations at the same tokens (stage “probes” of a study)."

HEAD = (
    Column("label", "Strategy", "text"),
    Column("text", "Text", "text"),
    Column("site", "Site", "text"),
)

MODEL_COLUMNS = (
    *HEAD,
    interval("base_auroc", "Base probe", "auroc"),
    interval("rl_auroc", "Tuned probe", "auroc"),
    interval("rl_minus_base", "Tuned − base", "auroc"),
    Column("rl_minus_base_p", "p", "p", setting=True),
    Column("rl_minus_base_q", "q", "p", setting=True),
    Column("baseline", "Last tokens, place", "auroc"),
    interval("over_baseline", "Base over these", "auroc"),
    Column("twin", "Untrained twin", "auroc"),
    interval("over_twin", "Base over twin", "auroc"),
    Column("rows", "Rows", "count", setting=True),
)

TRANSFER_COLUMNS = (
    *HEAD,
    Column("trained", "Probe of", "text"),
    Column("read", "Read on", "text"),
    Column("space", "Space", "text"),
    interval("auroc", "AUROC", "auroc", ends=("low", "high")),
    interval("minus_home", "Against its own model", "auroc"),
    interval("minus_own", "Against that model's own probe", "auroc"),
)

ALIGNMENT_COLUMNS = (
    Column("site", "Site", "text"),
    Column("text", "Text", "text"),
    interval("raw_misfit", "Missed as it is", "share"),
    interval("turned_misfit", "Missed after the turn", "share"),
    Column("turned", "Turn (0 none, 1 random)", "auroc"),
    Column("scale", "Scale", "auroc"),
)

COSINE_COLUMNS = (
    *HEAD,
    interval("apart", "Other problems", "auroc"),
    interval("cosine", "Same rows", "auroc"),
    interval("base_apart", "Base with itself", "auroc"),
    Column("shuffled", "Largest of shuffled labels", "auroc", setting=True),
    Column("random", "Random directions below", "auroc", setting=True),
)

SUBSPACE_COLUMNS = (
    Column("site", "Site", "text"),
    Column("text", "Text", "text"),
    Column("pairing", "Directions", "text"),
    Column("rank", "Rank", "count", setting=True),
    interval("overlap", "Overlap", "auroc"),
    Column("random", "Random subspaces", "auroc", setting=True),
    Column("random_sd", "their SD", "auroc", setting=True),
    Column("z", "SDs above", "number", setting=True),
    Column("angles", "Principal angles (°)", "text"),
)

AHEAD_COLUMNS = (
    Column("label", "Strategy", "text"),
    Column("text", "Text", "text"),
    Column("k", "Tokens ahead", "count", setting=True),
    Column("within", "Tokens lie in", "text"),
    Column("rows", "Rows", "count", setting=True),
    interval("auroc", "Probe", "auroc", ends=("low", "high")),
    Column("now", "At k = 0, same rows", "auroc"),
    Column("baseline", "Last tokens, place", "auroc"),
    interval("over_baseline", "Lead", "auroc"),
    Column("q", "q", "p", setting=True),
)

PAIRINGS = {"cosine": "same rows", "apart": "other problems", "base_apart": "base with itself"}


def beforehand(reader: StudyReader) -> list[Block]:
    """The sentence by its rule, then transfer, directions and k tokens ahead; nothing where nothing was read."""
    models = reader.frame("before_models")
    if models is None:
        return []
    said = reading(reader)
    finding: list[Block] = []
    if said is not None:
        each, together = said
        finding = [Text(together, "finding"), *([Bullets(tuple(each))] if each else []), Text(RULE, "note")]
    return [
        Heading("Was it there before RL?"),
        *finding,
        *_transfer(reader, models),
        *_directions(reader),
        *_ahead(reader),
    ]


def _transfer(reader: StudyReader, models: pd.DataFrame) -> list[Block]:
    frame = reader.frame("before_transfer")
    caption = (
        "Probes of either model, read on both at the same tokens, at the layer quoted for each strategy; the rotation "
        "was fitted on training problems. What it does not show: that either model uses what its probe reads; and one "
        "model's text is foreign to the other."
    )
    drawn = None if frame is None else moved_probes(frame)
    title = "One model's probe on the other"
    blocks: list[Block] = [picture(reader, "before_transfer", drawn, title=title, caption=caption, needs=NEEDS)]
    note = "p and q of the difference are two-sided; q is over all layers and labels of one text."
    folded = [table_of(models, MODEL_COLUMNS, "Each model's own probe", note=note, sortable=True)]
    if frame is not None:
        note = "raw: as it is; turned: after the rotation. Differences are paired by row."
        folded.append(table_of(frame, TRANSFER_COLUMNS, "Every probe on either model", note=note, sortable=True))
    fits = reader.frame("before_alignment")
    if fits is not None:
        note = "Missed: share of the tuned model's variance on held-out problems. Turn and scale: mean over folds."
        folded.append(table_of(fits, ALIGNMENT_COLUMNS, "The rotation from the base to the tuned model", note=note))
    return [*blocks, Fold("Both models' probes in figures", tuple(folded))]


def _directions(reader: StudyReader) -> list[Block]:
    frame = reader.frame("before_cosines")
    caption = (
        "Difference-of-means directions of the base and of the tuned model, each from other problems, so that shared "
        "accidents of the rows do not count. Grey: shuffled labels (activations share a few large axes, so these can "
        "be close) and random directions. What it does not show: that a direction is used."
    )
    drawn = None if frame is None else cosines_by_layer(frame)
    title = "Do both models write it along the same direction?"
    blocks: list[Block] = [picture(reader, "before_cosines", drawn, title=title, caption=caption, needs=NEEDS)]
    if frame is None:
        return blocks
    note = "Intervals leave out one problem at a time. Base with itself: what sampling leaves of one."
    folded = [table_of(frame, COSINE_COLUMNS, "Cosines of directions", note=note, sortable=True)]
    spaces = reader.frame("before_subspaces", needs=("pairing", "overlap"))
    if spaces is not None:
        shown = spaces.assign(pairing=spaces["pairing"].map(PAIRINGS))
        note = "Overlap: mean squared cosine of the principal angles between the subspaces that all labels span."
        folded.append(table_of(shown, SUBSPACE_COLUMNS, "Subspaces of all directions", note=note, sortable=True))
    return [*blocks, Fold("Directions in figures", tuple(folded))]


def _ahead(reader: StudyReader) -> list[Block]:
    frame = reader.frame("before_ahead")
    caption = (
        "Base probes on the base's own text, fitted anew at each distance; grey: the last tokens and the place at the "
        "same distance. First decisions are read in the prompt, later ones in the completion. What it does not show: "
        "when the model settles it; and rows drop out as the distance grows."
    )
    text = "base text" if frame is not None and (frame["text"] == "base text").any() else "RL text"
    if text == "RL text":
        caption = caption.replace("the base's own text", "the tuned model's text (the base's has too few decisions)")
    drawn = None if frame is None else ahead_curve(frame, text=text)
    title = "How many tokens ahead can it be read?"
    blocks: list[Block] = [picture(reader, "before_ahead", drawn, title=title, caption=caption, needs=NEEDS)]
    if frame is None:
        return blocks
    note = "At k = 0, same rows: the probe at the decision itself on the rows that are left at this distance."
    table = table_of(frame, AHEAD_COLUMNS, "k tokens ahead", note=note, sortable=True)
    return [*blocks, Fold(f"All {len(frame)} distances", (table,))]
