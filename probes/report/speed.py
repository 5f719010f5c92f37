"""Part of "How did it get there?": how soon most of the gain was there."""

from __future__ import annotations

from typing import Any

from probes.report.blocks import Absent, Block, Heading, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of

NEEDS = "It needs graded samples of the same problems at two or more checkpoints of one run."
WAYS = {"compute": "Compute", "steps": "Steps", "checkpoints": "Checkpoints"}
"""What a study counts along a run, in words."""


def arrived(reader: StudyReader, record: dict[str, Any]) -> list[Block]:
    """Accuracy along the run and the steps to half and to nine tenths of the gain; what it needs where it is absent."""
    heading, part = Heading("How soon is the gain there?"), record.get("speed")
    frame = reader.frame("training_speed")
    if not isinstance(part, dict) or frame is None:
        return [heading, Absent("Speed", NEEDS)]
    said = str(part.get("sentence") or "")
    if frame["steps"].isna().all():
        return [heading, Text("The gain at the last checkpoint cannot be told from zero: nothing arrives.", "finding")]
    way = WAYS.get(str(record.get("counted")), "Steps")
    columns = (
        Column("share", "Share of the final gain", "share", setting=True),
        interval("steps", f"{way} until it is there", "number"),
        interval("gain", "Final gain", "points"),
        interval("end", "Accuracy at the end", "share"),
    )
    caption = (
        "Accuracy at each checkpoint, and the steps at which a curve that never falls has half and nine tenths of the "
        "gain. A run is held against its own end. What it does not show: another run of the same recipe."
    )
    title = "Accuracy along the run"
    return [
        heading,
        *([Text(f"{said[:1].upper()}{said[1:]}.", "finding")] if said else []),
        picture(reader, "training_speed", None, title=title, caption=caption, needs=NEEDS),
        table_of(frame, columns, f"{way} to a share of the gain"),
    ]
