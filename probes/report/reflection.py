"""Part of "What does it say?": which tokens of the right answer depend on the reasoning before them.

Drawn from the table ``reflection``. What it does not show: that rewarding these tokens would train faster.
"""

from __future__ import annotations

from probes.report.blocks import Block, Heading
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of

NEEDS = "It needs reference answers read after several chains of thought (stage “reflection” of a study)."
WORDS = {
    "carrying": "Share of the reference's tokens that carries 80 % of the spread",
    "noise": "What noise of one size at every token would need",
    "carrying - noise": "The first minus the second",
    "plain": "Plain score: rank correlation with being right",
    "weighted": "Score weighted by the spread: the same",
    "weighted - plain": "Weighted minus plain",
    "overlap": "Overlap with the tokens of high entropy (Jaccard, top fifths)",
    "overlap - chance": "The same, less what random fifths overlap",
    "js overlap": "Overlap with the tokens at which the models differ most (JS; Jaccard, top fifths)",
    "js overlap - chance": "The same, less what random fifths overlap",
}
COLUMNS = (
    Column("statistic", "Statistic", "text"),
    Column("model", "Read by", "text"),
    interval("value", "Value", "auroc", ends=("low", "high")),
    Column("n", "Problems", "count", setting=True),
)


def reflected(reader: StudyReader) -> list[Block]:
    """The table of statistics under both models and the curve of the base; nothing where the study has none."""
    frame = reader.frame("reflection", needs=("statistic", "model", "value", "low", "high"))
    if frame is None:
        return []
    shown = frame.assign(
        statistic=frame["statistic"].map(WORDS).fillna(frame["statistic"]),
        model=frame["model"].replace({"rl": "tuned"}),
    )
    caption = (
        "The right answer is read after each chain of thought of the base, cut before its own answer. The curve: how "
        "much of the spread over chains the tokens with the most of it hold."
    )
    note = "A short reference moves the share in steps of one token. Ranks are over the chains of each problem."
    title = "Reference tokens that depend on the reasoning"
    return [
        Heading("Reference tokens that reflect the reasoning"),
        picture(reader, "reflection", None, title=title, caption=caption, needs=NEEDS),
        table_of(shown, COLUMNS, "The reference after different chains of thought", note=note),
    ]
