"""Section "What moved?": how many weights RL changed, where, and in how many directions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from probes.report.blocks import Absent, Block, Bullets, Fold, Section, Table, Text
from probes.report.drawings import changed_by_layer, rank_beside_null
from probes.report.folder import StudyReader
from probes.report.moved_drawings import changes_by_size
from probes.report.moved_overlap import moved_together, moved_where
from probes.report.names import WEIGHTS
from probes.report.pictures import picture
from probes.report.tables import Column, measures_table, table_of
from probes.report.wording import plain, quantity

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
    Column("numerical_rank", "Numerical rank", "share", setting=True),
    Column("null_rank", "Its null", "share", setting=True),
    Column("stable_rank", "Stable rank", setting=True),
    Column("stable_rank_null", "Its null", setting=True),
    Column("entropy_rank", "Entropy rank", setting=True),
    Column("entropy_rank_null", "Its null", setting=True),
    Column("energy_top", "Energy in top 1 %", "share", setting=True),
    Column("energy_top_null", "Its null", "share", setting=True),
    Column("reading", "Reads", "text"),
)
UNITS = {column.name: "share" for column in COLUMNS if column.unit == "share"}
UNITS |= {"unchanged_stored": "share", "relative_norm": "relative", "size": "count", "tensors": "count"}

MEANS = "shares weighted by size, ranks are means over the matrices that moved"
"""How tensors are put together."""


def what_moved(reader: StudyReader) -> Section:
    """Totals, change by layer, and a row for every tensor."""
    question = (
        "How much of the network differs after RL. Storing weights in bf16 hides small changes, so the share of "
        "unchanged entries is a fact about the file as much as about the training; a rank means little without its "
        "null."
    )
    blocks = (*_weights(reader), *moved_where(reader), *moved_together(reader))
    return Section("what-moved", "What moved?", "What moved?", question, blocks)


def _weights(reader: StudyReader) -> list[Block]:
    frame, totals = reader.frame("weights"), reader.record("weights")
    if frame is None and not totals and reader.figure("weights") is None:
        return [Absent("Weights", NEEDS)]
    blocks: list[Block] = []
    if isinstance(totals.get("reading"), str):
        blocks.append(Text(totals["reading"], "finding"))
    if isinstance(adapter := totals.get("adapter"), dict):
        blocks.append(Text(_adapted(adapter, totals)))
    drawn = None if frame is None else changed_by_layer(frame)
    caption = "Each mark is one tensor: the share of its entries whose bf16 value differs between the two checkpoints."
    blocks.append(picture(reader, "weights", drawn, title="Share of entries changed", caption=caption, needs=NEEDS))
    ranks = None if frame is None else rank_beside_null(frame)
    if ranks is not None:
        words = "How many directions an update spreads over, beside the same changes at shuffled places. Log scale."
        blocks.append(picture(reader, "ranks", ranks, title="Stable rank of each update", caption=words, needs=NEEDS))
    sizes = reader.frame("weights_sizes")
    if sizes is not None:
        words = (
            "How large the changes are, a bar a power of two, where both files hold float32: what bf16 and a tolerance "
            "of 1e-5 (dotted) hide. Entries that did not change at all are left out. What it does not show: which of "
            "them matter."
        )
        drawn = changes_by_size(sizes)
        blocks.append(picture(reader, "sizes", drawn, title="Size of each change", caption=words, needs=NEEDS))
    if totals:
        shown = {name: value for name, value in totals.items() if name not in ("reading", "notes", "adapter")}
        caption = f"Over the whole network: {MEANS}"
        # The note below says of all of them that they are counts.
        blocks.append(measures_table(shown, caption, units=UNITS, words=WEIGHTS, single=""))
        words = "Counts over all entries of two fixed files: exact, so without an interval"
        blocks.append(Text(f"{words}; that of a rank over shuffled entries is over matrices.", "note"))
    modules = reader.frame("weights_modules")
    if modules is not None:
        table = _table(modules, f"By module: {MEANS}")
        blocks.append(Fold(f"By module ({len(modules)})", (table,)))
    if frame is not None:
        blocks.append(Fold(f"All {len(frame)} tensors", (_table(frame, "Every tensor"),)))
    notes = totals.get("notes")
    if isinstance(notes, dict) and notes:
        named = tuple(f"{what}: {_some(names)}" for what, names in notes.items())
        blocks.append(Fold("Tensors that need a word", (Bullets(named),)))
    return blocks


def _adapted(adapter: dict[str, Any], totals: dict[str, Any]) -> str:
    """What a LoRA adapter sets by itself, and the share unchanged inside it beside that over all."""
    modules = adapter.get("modules")
    on = f" on {', '.join(map(str, modules))}" if isinstance(modules, list) and modules else ""
    said = (
        f"The update is a LoRA of rank {plain(adapter.get('rank'))}{on}: its low rank, and the tensors outside it that "
        "did not change, are set by the method, not found by RL."
    )
    inside, over = (quantity(part.get("unchanged_bf16"), unit="share") for part in (adapter, totals))
    if inside.measured and over.measured:
        count = quantity(adapter.get("tensors"), unit="count").text
        said += (
            f" Unchanged when read in bf16: {inside.text} of the entries of the {count} trained tensors, {over.text} "
            "over all (counts, one run)."
        )
    return said


def _some(names: object) -> str:
    """The first few names, and how many more."""
    if not isinstance(names, list):
        return str(names)
    more = len(names) - 6
    return ", ".join(map(str, names[:6])) + (f" and {more} more" if more > 0 else "")


def _table(frame: pd.DataFrame, caption: str) -> Table:
    """Rows of tensors or modules; ranks are shares of the full rank where none is above one."""
    if "numel" not in frame and "size" in frame:
        frame = frame.rename(columns={"size": "numel"})
    if "tensor" not in frame and "tensors" in frame:
        frame = frame.drop(columns="tensors")
    whole = "numerical_rank" in frame and bool((frame["numerical_rank"] > 1).any())
    ranks = ("numerical_rank", "null_rank")
    columns = [replace(c, unit="count") if whole and c.name in ranks else c for c in COLUMNS if c.name in frame]
    note = "A null has the same changes at shuffled places: a rank means something only beside it."
    return table_of(frame, columns, caption, note=note, sortable=True)
