"""Section "How did it get there?": what training did over time, when there are checkpoints along it."""

from __future__ import annotations

from probes.report.blocks import Absent, Block, Fold, Section
from probes.report.figures import embed
from probes.report.folder import StudyReader
from probes.report.tables import Column, measures_table, table_of

NEEDS = (
    "Two checkpoints show where training began and ended, not the way. It needs at least three checkpoints along one "
    "run (phases, collapse of variety), and runs at several sizes or lengths for a scaling fit."
)


def how_it_got_there(reader: StudyReader) -> Section:
    """What the study holds about training, or what it would take to know."""
    question = (
        "In which order things changed: whether execution settles before planning spreads, and where the curve bends."
    )
    frame, record, given = reader.frame("training"), reader.record("training"), reader.figure("training")
    blocks: list[Block] = []
    if given is not None:
        figure = embed(
            given, name="training", title="Along training", caption="Measures at each checkpoint of the run."
        )
        blocks += [figure] if figure else []
    if frame is not None:
        kinds = [("number" if frame[name].dtype.kind in "iuf" else "text") for name in frame.columns]
        columns = [
            Column(str(name), str(name).replace("_", " "), kind, setting=True)
            for name, kind in zip(frame.columns, kinds, strict=True)
        ]
        table = table_of(frame, columns, "Along training", sortable=True)
        blocks.append(table if len(frame) <= 14 else Fold(f"All {len(frame)} rows", (table,)))
    if record:
        blocks.append(measures_table(record, "Fits"))
    return Section(
        "how", "How did it get there?", "How it got there", question, tuple(blocks or [Absent("Training", NEEDS)])
    )
