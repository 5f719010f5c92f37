"""Part of "What does it say?": in which formats texts are written along the run, and how long they are.

Drawn from the tables ``formats``, ``formats_steps`` and ``formats_lengths``. What it does not show: why a format won.
"""

from __future__ import annotations

from probes.report.blocks import Block, Fold, Heading, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of

NEEDS = "It needs samples of the base and of at least one checkpoint (stage “formats” of a study)."
STEP = Column("step", "Step", "count", setting=True)
SHARES = (
    STEP,
    Column("format", "Format", "text"),
    interval("share", "Share of texts", "share"),
    interval("accuracy", "Accuracy of its texts", "share"),
    Column("texts", "Texts", "count", setting=True),
)
STEPS = (
    STEP,
    Column("dominant", "Largest format", "text"),
    interval("dominant_share", "Its share", "share"),
    interval("entropy", "Entropy of formats", "nats"),
    interval("accuracy", "Accuracy", "share"),
)
LENGTHS = (
    STEP,
    interval("tokens", "Mean tokens a text", "number"),
    interval("relative", "Smoothed, over the start", "share"),
)


def formatted(reader: StudyReader) -> list[Block]:
    """The shares over steps, entropy and the step of collapse; nothing where the study has none."""
    frame = reader.frame("formats", needs=("step", "format", "share"))
    if frame is None:
        return []
    record = reader.record("formats")
    caption = (
        "Share of each format in the texts of each checkpoint; bars are intervals over problems. Formats are told "
        "apart by rules, and code is read but never run."
    )
    title = "Formats along the run"
    blocks: list[Block] = [Heading("Formats")]
    if record.get("headline"):
        blocks.append(Text(f"{_capital(str(record['headline']))}."))
    blocks.append(picture(reader, "formats", None, title=title, caption=caption, needs=NEEDS))
    steps, lengths = reader.frame("formats_steps"), reader.frame("formats_lengths")
    if steps is not None:
        blocks.append(table_of(steps, STEPS, "The largest format of each checkpoint", sortable=True))
    folded = [table_of(frame, SHARES, "Every format at every checkpoint", sortable=True)]
    if lengths is not None:
        folded.append(table_of(lengths, LENGTHS, f"Length along the run: {record.get('lengths', '')}"))
    return [*blocks, Fold("Formats and lengths in figures", tuple(folded))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
