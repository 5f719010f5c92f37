"""Part of "What does it say?": signs of shortcuts in both models' texts, and by how hard the problems were.

Drawn from the tables ``shortcuts``, ``shortcuts_bins`` and ``shortcuts_checks``. What it does not show: that the
problems given are those that RL was trained on.
"""

from __future__ import annotations

import pandas as pd

from probes.report.blocks import Block, Cell, Fold, Heading, Table, Text
from probes.report.folder import StudyReader
from probes.report.tables import Column, interval, measures_table, table_of
from probes.report.wording import quantity

ARMS = {"base": "Base", "rl": "Tuned", "rl - base": "Tuned − base"}
UNITS = {"tokens": "number", "operations": "number", "repeat ratio": "share"}
WORDS = {
    "degenerate": "Degenerate (any of the next three)",
    "answer repeated": "Answer announced more than once",
    "tail loop": "Ends in a loop",
    "bare answer": "Answer without reasoning",
    "computation skipped": "Shorter and with fewer operations than the base's",
    "repeat ratio": "Repeated n-grams (n = 4 to 8)",
    "operations": "Operations for each answer",
    "coverage": "Intermediate values that are mentioned",
    "tokens": "Tokens a text",
    "accuracy": "Accuracy",
}
CHECKS = (
    Column("model", "Model", "text"),
    Column("quantity", "Texts whose answer is", "text"),
    interval("value", "Share", "share", ends=("low", "high")),
    Column("left_out", "Texts without a step", "count", setting=True),
)


def shortened(reader: StudyReader) -> list[Block]:
    """All signs of both models, then difficulty and the corrupted step; nothing where the study has none."""
    frame = reader.frame("shortcuts", needs=("quantity", "arm", "value", "low", "high"))
    if frame is None:
        return []
    record = reader.record("shortcuts")
    blocks: list[Block] = [Heading("Shortcuts"), _signs(frame, "Signs of shortcuts in the sampled texts")]
    if record.get("note"):
        blocks.append(Text(f"Not measured: {record['note']}.", "note"))
    folded: list[Block] = []
    bins = reader.frame("shortcuts_bins", needs=("bin", "problems", "quantity", "arm"))
    if bins is not None:
        for name in dict.fromkeys(bins["bin"]):
            part = bins[bins["bin"] == name]
            count = f"{float(part['problems'].iloc[0]):.1f}"
            folded.append(_signs(part, f"Problems that are {name} for the base ({count} expected)"))
        blocks.append(
            Text(
                "By difficulty the base is measured on samples that did not choose the bin, so that an unchanged model "
                "neither gains nor loses.",
                "note",
            )
        )
    known = {name: record[name] for name in ("hard_share", "rare_mass", "rare_degenerate") if record.get(name)}
    if known:
        named = {_RECORD[name]: value for name, value in known.items()}
        folded.append(measures_table(named, "Gradient of rare successes", units=dict.fromkeys(named, "share")))
    checks = reader.frame("shortcuts_checks", needs=("model", "quantity", "value"))
    if checks is not None:
        note = (
            "One intermediate result is replaced and the model writes on; an unchanged answer did not rest on it, or "
            "the error was mended. Only texts that keep their answer when merely cut count."
        )
        shown = checks.assign(model=checks["model"].replace({"rl": "tuned"}))
        blocks.append(table_of(shown, CHECKS, "Answers after a corrupted step", note=note))
    return [*blocks, Fold("Shortcuts by difficulty", tuple(folded))] if folded else blocks


_RECORD = {
    "hard_share": "problems that eight base samples never solve",
    "rare_mass": "gradient mass of successes in lone ones (groups of 8)",
    "rare_degenerate": "of that, in degenerate texts",
}


def _signs(frame: pd.DataFrame, caption: str) -> Table:
    """A row a quantity, a column an arm."""
    known = {(row["quantity"], row["arm"]): row for row in frame.to_dict("records")}
    rows = []
    for name in dict.fromkeys(frame["quantity"]):
        if name not in WORDS:
            continue
        cells = [Cell(WORDS[name])]
        for arm in ARMS:
            row = known.get((name, arm), {})
            unit = UNITS.get(name, "share")
            unit = "points" if unit == "share" and arm == "rl - base" else unit
            words = quantity(row.get("value"), row.get("low"), row.get("high"), unit=unit)
            cells.append(Cell(words.text, words.interval, "number" if words.measured else "none"))
        rows.append(tuple(cells))
    return Table(caption, ("Sign", *ARMS.values()), ("text", *["number"] * len(ARMS)), tuple(rows))
