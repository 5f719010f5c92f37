"""Section "What moved?": how many weights RL changed, where, and in how many directions."""

from __future__ import annotations

from probes.report.blocks import Absent, Block, Fold, Section, Text
from probes.report.drawings import changed_by_layer
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, measures_table, table_of

NEEDS = "It needs both checkpoints on disk (stage “weights” of a study)."

COLUMNS = (
    Column("tensor", "Tensor", "text"),
    Column("layer", "Layer", "count", setting=True),
    Column("module", "Module", "text"),
    Column("numel", "Entries", "count", setting=True),
    Column("unchanged_bf16", "Unchanged (bf16)", "share", bar=True, setting=True),
    Column("unchanged_1e5", "Within 1e-5", "share", setting=True),
    Column("unchanged_relative", "Relative test", "share", setting=True),
    Column("one_ulp", "One bf16 step", "share", setting=True),
    Column("norm", "Norm of change", setting=True),
    Column("numerical_rank", "Numerical rank", "count", setting=True),
    Column("stable_rank", "Stable rank", setting=True),
    Column("entropy_rank", "Entropy rank", setting=True),
    Column("null_rank", "Rank of the null", setting=True),
)


def what_moved(reader: StudyReader) -> Section:
    """Totals, change by layer, and a row for every tensor."""
    question = (
        "How much of the network differs after RL. Storing weights in bf16 hides small changes, so the share of "
        "unchanged entries is a fact about the file as much as about the training; a rank means little without its "
        "null."
    )
    return Section("what-moved", "What moved?", "What moved?", question, tuple(_weights(reader)))


def _weights(reader: StudyReader) -> list[Block]:
    frame, totals = reader.frame("weights"), reader.record("weights")
    if frame is None and not totals and reader.figure("weights") is None:
        return [Absent("Weights", NEEDS)]
    blocks: list[Block] = []
    drawn = None if frame is None else changed_by_layer(frame)
    caption = "Each mark is one tensor: the share of its entries whose bf16 value differs between the two checkpoints."
    blocks.append(picture(reader, "weights", drawn, title="Share of entries changed", caption=caption, needs=NEEDS))
    if totals:
        blocks.append(measures_table(totals, "Over the whole network, weighted by size"))
        blocks.append(Text("Counts over all entries of two fixed files: exact, so without an interval.", "note"))
    if frame is not None:
        note = "Rank of the null: the same number of changed entries at random places."
        table = table_of(frame, COLUMNS, "Every tensor", note=note, sortable=True)
        blocks.append(Fold(f"All {len(frame)} tensors", (table,)))
    return blocks
