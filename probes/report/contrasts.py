"""Part of "What does it say?": the pair beside other trainings of the same base, figure by figure.

Drawn from the tables ``contrasts`` and ``contrasts_weights``. What it does not show: that a checkpoint was trained as
its role says, nor what another run of either training would give.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.report.blocks import Absent, Block, Cell, Fold, Heading, Table, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, table_of
from probes.report.theme import CONTROL, LIGHT, axis, layout
from probes.report.wording import number, quantity

Spec = dict[str, Any]

NEEDS = (
    "It needs other trainings of the same base: --contrast random=CHECKPOINT (a random reward) and --contrast "
    "sft=CHECKPOINT (supervised tuning); two claims need a second run of RL (medium or hard, binary or brier). What a "
    "random reward does as well is no effect of the true one."
)
ROLES = {
    "random": "a random reward", "sft": "supervised tuning", "medium": "RL on medium problems",
    "hard": "RL on too-hard problems", "binary": "RL without a Brier term", "brier": "RL with a Brier term",
}  # fmt: skip
"""Roles in words."""
MAIN = (
    "pass@1, rl - base", "delta_se", "degenerate, rl - base", "tokens, rl - base", "ece", "brier", "auroc",
    "sequence: right minus wrong", "mass: suppression share", "carrying",
)  # fmt: skip
"""Quantities that are not folded away; beside them the rise of the largest format, whose name is its own."""
WORDS = {
    "delta_se": "Base at the largest k of these samples minus tuned at k = 1",
    "ece": "Calibration error (ECE)", "brier": "Brier score",
    "ece, adaptive": "Calibration error (bins of equal size)", "auroc": "Right ranked above wrong (AUROC)",
    "sequence: right": "Right texts: log-ratio tuned / base (nats)",
    "sequence: wrong": "Wrong texts: log-ratio tuned / base (nats)",
    "sequence: right minus wrong": "Right minus wrong texts (nats)",
    "sequence: suppression share": "Suppression share, by text",
    "mass: suppression share": "Suppression share, class as a whole",
    "moved: to right": "Probability moved to right texts",
    "carrying": "Share of reference tokens that carry 80 % of the spread",
    "carrying - noise": "The same minus what even noise needs",
    "plain": "Plain score with being right (rank correlation)",
    "weighted": "Weighted score with being right", "weighted - plain": "Weighted minus plain",
}  # fmt: skip
UNCHANGED = (
    Column("words", "Weights", "text"),
    Column("ours", "This pair", "share", setting=True),
    Column("contrast", "Contrast", "share", setting=True),
)
SHARES = {
    "unchanged_exact": "Unchanged, bit for bit in bfloat16", "unchanged_tolerance": "Unchanged within 1e-5",
    "unchanged_relative": "Unchanged by the relative test", "one_ulp": "Moved by one bfloat16 step",
}  # fmt: skip


def contrasted(reader: StudyReader) -> list[Block]:
    """A finding, a table and the weights for each contrast; where none was given, what it would need."""
    heading = Heading("Would another training have done the same?")
    frame = reader.frame("contrasts", needs=("role", "measure", "quantity", "unit", "ours", "contrast", "difference"))
    if frame is None:
        return [heading, Absent("Contrasts", NEEDS)]
    record = reader.record("contrasts")
    samples, problems = record.get("samples"), record.get("problems")
    said = (
        f"Of each contrast {samples} samples on each of the pair's {problems} problems, and as many of the pair; some "
        "measures read fewer. A difference is taken over the problems that are defined for both, whose number stands "
        "behind it, so it need not be that of the two cells."
    )
    blocks: list[Block] = [heading, Text(said, "note")]
    caption = "What each training gained over the base at one try, on the same problems, with intervals over problems."
    blocks.append(
        picture(reader, "contrasts", drawn(frame), title="Gain beside contrasts", caption=caption, needs=NEEDS)
    )
    weights = reader.frame("contrasts_weights", needs=("role", "quantity", "ours", "contrast"))
    for role in dict.fromkeys(frame["role"]):
        blocks += _role(str(role), frame[frame["role"] == role], record)
        if weights is not None and (weights["role"] == role).any():
            own = weights[weights["role"] == role]
            shown = own.assign(words=own["quantity"].map(SHARES))
            note = "Exact counts over files. A share depends on step size and format as much as on the method."
            blocks.append(table_of(shown, UNCHANGED, f"What moved, beside {ROLES.get(str(role), role)}", note=note))
    return blocks


def _role(role: str, rows: pd.DataFrame, record: dict[str, Any]) -> list[Block]:
    words = ROLES.get(role, role)
    roles = record.get("roles")
    told = roles.get(role, {}) if isinstance(roles, dict) else {}
    which = f"{told['checkpoint']}: {told['training']}" if told else words
    main = rows[rows["quantity"].isin(MAIN) | rows["quantity"].str.startswith("rise of")]
    return [
        *_gain(rows, words),
        _table(main, f"This pair beside {words} ({which})"),
        Fold(f"All {len(rows)} figures beside {words}", (_table(rows, f"Every figure beside {words}"),)),
    ]


def _gain(rows: pd.DataFrame, words: str) -> list[Block]:
    """The first row of pass@k in a sentence."""
    first = rows[rows["quantity"] == "pass@1, rl - base"]
    if first.empty:
        return []
    row = first.iloc[0].to_dict()
    own, other, left = (_said(row, name, "points") for name in ("ours", "contrast", "difference"))
    text = f"At one try this pair moved accuracy by {own}, {words} by {other}; the difference is {left}."
    return [Text(text, "finding")]


def _said(row: dict[Any, Any], name: str, unit: str) -> str:
    words = quantity(row[name], row[f"{name}_low"], row[f"{name}_high"], unit=unit)
    return f"{words.text} ({words.interval})"


def _table(rows: pd.DataFrame, caption: str) -> Table:
    out = []
    for row in rows.to_dict("records"):
        cells = [Cell(_words(str(row["quantity"])), str(row["measure"]))]
        for name in ("ours", "contrast", "difference"):
            unit = "points" if name == "difference" and row["unit"] == "share" else str(row["unit"])
            words = quantity(row[name], row.get(f"{name}_low"), row.get(f"{name}_high"), unit=unit)
            cells.append(Cell(words.text, words.interval, "number" if words.measured else "none"))
        cells.append(Cell(quantity(row.get("n"), unit="count").text))
        out.append(tuple(cells))
    titles = ("Measure", "This pair", "Contrast", "This pair − contrast", "Problems")
    return Table(caption, titles, ("text", *["number"] * 4), tuple(out))


def _words(name: str) -> str:
    known = WORDS.get(name)
    return known or f"{name[:1].upper()}{name[1:]}".replace("Pass@", "pass@").replace("rl - base", "tuned − base")


def drawn(frame: pd.DataFrame) -> Spec | None:
    """Gain over the base at one try: the pair and each contrast, bars with intervals."""
    rows = frame[frame["quantity"] == "pass@1, rl - base"]
    if rows.empty:
        return None
    first = rows.iloc[0]
    bars = [("this pair", first["ours"], first["ours_low"], first["ours_high"], LIGHT["rl"])]
    bars += [
        (ROLES.get(str(row["role"]), str(row["role"])), row["contrast"], row["contrast_low"], row["contrast_high"],
         CONTROL)
        for row in rows.to_dict("records")
    ]  # fmt: skip
    ends = {
        "type": "data", "symmetric": False, "thickness": 1,
        "array": [number(100 * (high - value)) for _, value, _, high, _ in bars],
        "arrayminus": [number(100 * (value - low)) for _, value, low, _, _ in bars],
    }  # fmt: skip
    trace = {
        "type": "bar", "x": [name for name, *_ in bars], "y": [number(100 * value) for _, value, *_ in bars],
        "error_y": ends, "marker": {"color": [ink for *_, ink in bars]}, "showlegend": False,
        "hovertemplate": "%{x}<br>%{y:.1f} points<extra></extra>",
    }  # fmt: skip
    across = axis(type="category", showgrid=False)
    return {"data": [trace], "layout": layout(height=320, xaxis=across, yaxis=axis("Gain over the base (points)"))}
