"""Blocks of "What moved?": where the update lies beside the base's principal weights, and what several runs share."""

from __future__ import annotations

import pandas as pd

from probes.report.blocks import Block, Fold, Heading, Text
from probes.report.folder import StudyReader
from probes.report.moved_drawings import jaccard_beside_nulls, principal_by_matrix
from probes.report.names import GEOMETRY
from probes.report.pictures import picture
from probes.report.tables import Column, interval, measures_table, table_of

NEEDS_FILES = "It needs both checkpoints on disk (stage “weights” of a study)."
NEEDS_RUNS = (
    "It needs two or more RL runs of one base: whenlens weights BASE RL --also RL2; a study has them where the "
    "organism ships further RL seeds."
)
DENSE = 0.8
"""From this share changed on, sets of changed entries overlap whatever was learned."""

OVERLAP_COLUMNS = (
    Column("run_1", "Run 1", "text"),
    Column("run_2", "Run 2", "text"),
    Column("share_1", "Changed by 1", "share", setting=True),
    Column("share_2", "Changed by 2", "share", setting=True),
    Column("o1", "Of 1 also in 2", "share", setting=True),
    Column("o1_null", "By chance", "share", setting=True),
    Column("o2", "Of 2 also in 1", "share", setting=True),
    Column("o2_null", "By chance", "share", setting=True),
    Column("jaccard", "Jaccard", "auroc", setting=True),
    Column("jaccard_null", "By chance", "auroc", setting=True),
    Column("jaccard_sizes", "By weight sizes", "auroc", setting=True),
    Column("jaccard_stripes", "By rows, columns", "auroc", setting=True),
    Column("same_sign", "Same direction", "share", setting=True),
    Column("cosine", "Cosine of updates", "auroc", setting=True),
)
MODULE_COLUMNS = (
    Column("module", "Module", "text"),
    Column("share_1", "Changed", "share", setting=True),
    interval("jaccard", "Jaccard", "auroc"),
    Column("jaccard_null", "By chance", "auroc", setting=True),
    Column("jaccard_sizes", "By weight sizes", "auroc", setting=True),
    Column("jaccard_stripes", "By rows, columns", "auroc", setting=True),
    interval("same_sign", "Same direction", "share"),
    interval("cosine", "Cosine of updates", "auroc"),
)
CONSENSUS_COLUMNS = (
    Column("runs", "Runs that changed it", "count", setting=True),
    Column("share", "Entries", "share", bar=True, setting=True),
    Column("null", "Were the runs independent", "share", setting=True),
)
STRIPE_COLUMNS = (
    Column("module", "Module", "text"),
    Column("share", "Changed", "share", setting=True),
    Column("row_dispersion", "Rows (chance: 1)", setting=True),
    Column("column_dispersion", "Columns (chance: 1)", setting=True),
)
GEOMETRY_COLUMNS = (
    Column("tensor", "Tensor", "text"),
    Column("module", "Module", "text"),
    Column("overlap", "Changed and principal", "share", setting=True),
    Column("overlap_null", "Random places", "share", setting=True),
    Column("overlap_sizes", "By weight sizes", "share", setting=True),
    Column("overlap_small", "Changed and smallest", "share", setting=True),
    Column("drift", "Spectral drift", "relative", setting=True),
    Column("drift_null", "Random update", "relative", setting=True),
    Column("angle_left", "Largest angle, left (°)", setting=True),
    Column("angle_left_null", "Random update", setting=True),
    Column("angle_right", "Largest angle, right (°)", setting=True),
    Column("angle_right_null", "Random update", setting=True),
    Column("kept", "Subspace kept", "share", setting=True),
    Column("kept_null", "Random update", "share", setting=True),
)
_SHARES = ("overlap", "overlap_null", "overlap_sizes", "overlap_small", "drift", "drift_null", "kept", "kept_null")
GEOMETRY_UNITS = dict.fromkeys(_SHARES, "share") | {"matrices": "count", "size": "count", "changed": "count"}


def moved_where(reader: StudyReader) -> list[Block]:
    """The update beside the base's principal weights and top singular subspaces; nothing where it was not placed."""
    frame = reader.frame("moved_geometry", needs=("overlap", "overlap_null"))
    if frame is None:
        return []
    caption = (
        "Share of each matrix's changed entries that are principal weights: the largest tenth of the entries of the "
        "base's rank-k part, k a tenth of the short side. Grey: random places, and what the size of each weight alone "
        "explains, because bf16 hides small changes of large weights."
    )
    title = "Does the update avoid the base's principal weights?"
    drawn = principal_by_matrix(frame)
    blocks: list[Block] = [
        Heading("Where does the update lie?"),
        picture(reader, "moved_geometry", drawn, title=title, caption=caption, needs=NEEDS_FILES),
    ]
    names = ("overlap", "overlap_null", "overlap_sizes", "overlap_small", "drift", "drift_null", "angle_left",
             "angle_left_null", "angle_right", "angle_right_null", "kept", "kept_null")  # fmt: skip
    totals = {name: value for name, value in reader.record("moved_geometry").items() if name in names}
    if totals:
        caption = "Over all matrices: overlaps by changed entries, the rest a mean over matrices"
        note = "Principal weights: the largest entries of the base's rank-k part. Exact for two fixed files."
        blocks.append(measures_table(totals, caption, units=GEOMETRY_UNITS, words=GEOMETRY, note=note))
    folded = [_table(frame, GEOMETRY_COLUMNS, "Every matrix")]
    modules = reader.frame("moved_geometry_modules")
    if modules is not None:
        folded.insert(0, _table(modules, GEOMETRY_COLUMNS, "By module"))
    return [*blocks, Fold(f"Geometry of all {len(frame)} matrices", tuple(folded))]


def moved_together(reader: StudyReader) -> list[Block]:
    """What several RL runs of one base changed in common, beside what chance would share, or what that needs."""
    frame = reader.frame("moved_overlap", needs=("jaccard", "share_1", "share_2"))
    if frame is None:
        # Where no weights were read at all, the section has said so.
        read = reader.frame("weights") is not None
        return [Text(f"Overlap between runs was not measured here. {NEEDS_RUNS}", "note")] if read else []
    modules = reader.frame("moved_overlap_modules", needs=("module", "jaccard"))
    caption = (
        "Jaccard index of the entries that two runs changed, by module; bars reach from the lowest to the highest "
        "pair of runs. Grey: independent entries; entries with the density that each size of weight has; entries with "
        "the density of each row and column."
    )
    drawn = None if modules is None else jaccard_beside_nulls(modules)
    title = "Do other seeds move the same weights?"
    blocks: list[Block] = [
        Heading("Do several runs move the same weights?"),
        *_dense(frame),
        picture(reader, "moved_overlap", drawn, title=title, caption=caption, needs=NEEDS_RUNS),
        _table(frame, OVERLAP_COLUMNS, "Every pair of runs"),
    ]
    folded: list[Block] = []
    if modules is not None:
        note = "Ends are the lowest and the highest pair of runs."
        folded.append(table_of(modules, MODULE_COLUMNS, "By module, mean over pairs", note=note, sortable=True))
    consensus, stripes = reader.frame("moved_consensus"), reader.frame("moved_stripes", needs=("module",))
    if consensus is not None:
        folded.append(_table(consensus, CONSENSUS_COLUMNS, "Entries by how many runs changed them"))
    if stripes is not None:
        known = [column.name for column in STRIPE_COLUMNS[1:] if column.name in stripes]
        means = stripes.groupby("module", sort=False)[known].mean().reset_index()
        note = "Variance of the share changed per row or column over that of independent entries."
        folded.append(table_of(means, STRIPE_COLUMNS, "Stripes, mean over layers and runs", note=note, sortable=True))
    return [*blocks, Fold("Overlap in figures", tuple(folded))] if folded else blocks


def _dense(frame: pd.DataFrame) -> list[Block]:
    least = float(frame[["share_1", "share_2"]].to_numpy(dtype=float).min())
    if least < DENSE:
        return []
    cosine = ""
    if "cosine" in frame and frame["cosine"].notna().any():
        low, high = frame["cosine"].min(), frame["cosine"].max()
        cosine = f" The cosine of the updates is {low:.2f} to {high:.2f} (chance: 0)."
    said = f"Every run changed at least {least:.0%} of the entries, so the sets overlap whatever was learned."
    return [Text(said + cosine, "finding")]


def _table(frame: pd.DataFrame, columns: tuple[Column, ...], caption: str) -> Block:
    own = [column for column in columns if column.name in frame]
    if "tensor" in frame:
        own = [column for column in own if column.name != "module"]
    note = "Exact counts over fixed files."
    return table_of(frame, own, caption, note=note, sortable=True)
