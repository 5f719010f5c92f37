"""Section "How did it get there?": what training did over time, when there are checkpoints along it."""

from __future__ import annotations

import re
from typing import Any

from probes.report.blocks import Absent, Block, Fold, Heading, Section, Text
from probes.report.domain_order import ordered
from probes.report.folder import StudyReader
from probes.report.names import TRAINING, VARIETY
from probes.report.pictures import picture
from probes.report.speed import arrived
from probes.report.tables import Column, interval, measures_table, table_of
from probes.report.wording import MINUS, quantity

NEEDS = (
    "Two checkpoints show where training began and ended, not the way. It needs at least three checkpoints along one "
    "run (`--series`; phases need six, collapse of variety two), and the compute spent at each for a scaling fit."
)
SCALING_NEEDS = "It needs accuracy on the same problems at five or more checkpoints after the base, and their compute."
PHASES_NEEDS = "It needs samples, and their scores, at six or more checkpoints of one run."
VARIETY_NEEDS = "It needs two or more samples of each problem at every checkpoint."

FORM_COLUMNS = (
    Column("form", "Form, fitted to the first half", "text"),
    interval("error_end", "Error at the end", "points"),
    interval("error_largest", "Largest error", "points"),
    interval("error_rms", "Root mean square", "points"),
    Column("fitted", "Points fitted", "count", setting=True),
    Column("foreseen", "Points foreseen", "count", setting=True),
)
WINDOW_COLUMNS = (
    Column("first", "From", "number", setting=True),
    Column("last", "To", "number", setting=True),
    Column("points", "Points", "count", setting=True),
    interval("A", "Asymptote A", "share"),
    Column("B", "B", setting=True),
    Column("C_mid", "C_mid", setting=True),
    Column("moved", "A moved by", "points", setting=True),
)
PHASE_COLUMNS = (
    Column("checkpoint", "Checkpoint", "text"),
    Column("step", "Step", "number", setting=True),
    interval("accuracy", "Accuracy", "share"),
    interval("length", "Tokens a text", "number"),
    interval("relative_ppl_execution", "Perplexity, execution", "auroc"),
    interval("relative_ppl_planning", "Perplexity, planning", "auroc"),
    interval("entropy_execution", "Entropy, execution", "nats"),
    interval("entropy_planning", "Entropy, planning", "nats"),
    interval("semantic_entropy", "Entropy of phrases", "nats"),
    interval("conditional_entropy", "Entropy of what follows", "nats"),
    interval("planning_of_high_entropy", "Planning among uncertain tokens", "share"),
    interval("planning_share", "Planning among all tokens", "share"),
)
ARM_COLUMNS = (
    Column("arm", "Phrases", "text"),
    Column("phrases", "Number", "count", setting=True),
    Column("coverage", "Words covered", "share", setting=True),
    interval("bend", "Bend at step", "number"),
    Column("p", "p", "p", setting=True),
    interval("before", "Slope before", "number"),
    interval("after", "Slope after", "number"),
    interval("semantic_slope", "Slope of phrase entropy after", "number"),
)
VARIETY_COLUMNS = (
    Column("checkpoint", "Checkpoint", "text"),
    Column("step", "Step", "number", setting=True),
    interval("strategies", "Distinct strategies", "share"),
    interval("answers", "Distinct answers", "share"),
    interval("similarity", "Self-similarity", "auroc"),
    interval("similarity_correct", "Of correct samples", "auroc"),
    interval("passk_first", "pass@1", "share"),
    interval("passk_last", "pass@all", "share"),
    interval("passk_slope", "pass@k per doubling", "points"),
)
CHANGE_COLUMNS = (
    Column("measure", "Measure", "text"),
    interval("change", "Tuned − base", "auroc", ends=("low", "high")),
    Column("less_variety", "Less variety", "text"),
    Column("problems", "Problems", "count", setting=True),
)
FIT_UNITS = {
    "asymptote": "share", "asymptote_over_problems": "share", "start": "share", "moved_between_windows": "points",
    "sigmoid_ahead_of_power_law": "points", "planning_of_high_entropy": "share", "p_of_a_bend": "p",
    "same_signs_when_dropped": "share",
}  # fmt: skip


def how_it_got_there(reader: StudyReader) -> Section:
    """What the study holds about training, or what it would take to know."""
    question = (
        "In which order things changed: whether a short run predicts a long one, whether execution settles before "
        "planning spreads, whether the order of domains matters, and whether variety is lost on the way."
    )
    record = reader.record("training")
    blocks: tuple[Block, ...] = (Absent("Training", NEEDS),)
    if record:
        counts = tuple(record.get(name) for name in ("checkpoints", "problems", "samples"))
        said = "{} checkpoints, {} problems, {} samples of each at every checkpoint; intervals are over problems."
        blocks = (
            Text(said.format(*counts), "note"),
            *_scaling(reader, record),
            *arrived(reader, record),
            *_phases(reader, record),
            *_variety(reader, record),
        )
    blocks = (*blocks, *ordered(reader))
    return Section("how", "How did it get there?", "How it got there", question, blocks)


def _part(record: dict[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _sentence(part: dict[str, Any]) -> list[Block]:
    """A result's own sentence, with its measures in words and minus signs for hyphens."""
    said = str(part.get("sentence") or "")
    for name in sorted(VARIETY, key=len, reverse=True):
        said = re.sub(rf"(?<![\w@]){name}(?![\w@])", VARIETY[name], said)
    said = re.sub(r"(?<![\w.])-(?=\d)", MINUS, said)
    return [Text(f"{said[:1].upper()}{said[1:]}.", "finding")] if said else []


def _scaled(part: dict[str, Any]) -> list[Block]:
    """The ceiling of the fit in words; its own sentence where there is none to read."""
    ends = part.get("asymptote")
    if not (part.get("identified") and isinstance(ends, dict)):
        return _sentence(part)
    top = quantity(ends.get("value"), ends.get("low"), ends.get("high"), unit="share")
    return [Text(f"The fitted sigmoid levels off at an accuracy of {top.text} ({top.interval}).", "finding")]


def _fits(part: dict[str, Any], caption: str) -> list[Block]:
    shown = {name: value for name, value in part.items() if name != "sentence"}
    return [measures_table(shown, caption, units=FIT_UNITS, words=TRAINING)] if shown else []


def _scaling(reader: StudyReader, record: dict[str, Any]) -> list[Block]:
    heading, part = Heading("Does a short run predict a long one?"), _part(record, "scaling")
    if not part:
        needs = str(record.get("scaling_needs") or "")
        return [heading, Absent("Scaling", f"It needs {needs}." if needs else SCALING_NEEDS)]
    caption = (
        "Accuracy at each checkpoint with the fitted sigmoid, the same fitted to the first half of the compute, and a "
        "power law. The band is the interval of the asymptote, where it is identified. What it does not show: another "
        "recipe's ceiling."
    )
    blocks = [heading, *_scaled(part)]
    blocks.append(
        picture(reader, "training_scaling", None, title="Accuracy over compute", caption=caption, needs=SCALING_NEEDS)
    )
    frame = reader.frame("training_scaling")
    if frame is not None:
        note = "Predicted minus measured accuracy on the second half; the size of an error is drawn too large by noise."
        blocks.append(table_of(frame, FORM_COLUMNS, "What the first half foresaw of the second", note=note))
    blocks += _fits(part, "The fit")
    windows = reader.frame("training_windows")
    if windows is not None:
        note = "A ceiling that moves with the window of the fit by more than 2 points was not there."
        table = table_of(windows, WINDOW_COLUMNS, "The fit in other windows", note=note, sortable=True)
        blocks.append(Fold(f"{len(windows)} windows", (table,)))
    return blocks


def _phases(reader: StudyReader, record: dict[str, Any]) -> list[Block]:
    heading, part = Heading("First execution, then planning?"), _part(record, "phases")
    frame = reader.frame("training_phases")
    if not part or frame is None:
        return [heading, Absent("Two phases", PHASES_NEEDS)]
    caption = (
        "Tokens inside strategic phrases are planning, all others execution. Perplexity is relative to the base. The "
        "dotted line is where execution entropy bends, if it does. What it does not show: that a phrase plans."
    )
    title = "Planning and execution along the run"
    blocks = [heading, *_sentence(part)]
    blocks.append(picture(reader, "training_phases", None, title=title, caption=caption, needs=PHASES_NEEDS))
    blocks += _fits(part, "Bend and slopes")
    arms = reader.frame("training_arms")
    if arms is not None:
        note = "What placebo phrases of equal coverage show too is no finding about planning."
        blocks.append(table_of(arms, ARM_COLUMNS, "With fewer phrases, and with placebo phrases", note=note))
    folded: list[Block] = [table_of(frame, PHASE_COLUMNS, "Every checkpoint", sortable=True)]
    phrases = reader.frame("training_phrases")
    if phrases is not None:
        columns = (
            Column("gram", "Phrase", "text"), Column("cluster", "Cluster", "text"),
            Column("df", "Solutions", "count", setting=True),
            Column("cluster_df", "Of its cluster", "count", setting=True),
        )  # fmt: skip
        folded.append(table_of(phrases.head(60), columns, f"The first of {len(phrases)} phrases", sortable=True))
    return [*blocks, Fold("All checkpoints and phrases", tuple(folded))]


def _variety(reader: StudyReader, record: dict[str, Any]) -> list[Block]:
    heading, part = Heading("Is variety lost?"), _part(record, "variety")
    frame = reader.frame("training_variety")
    if not part or frame is None:
        return [heading, Absent("Variety of samples", VARIETY_NEEDS)]
    caption = (
        "Within a problem: distinct strategies and answers over samples, overlap of the samples' token 3-grams, and "
        "pass@k. Right answers are alike, so part of every loss is accuracy; the overlap of correct samples stands "
        "beside for that. What it does not show: whether the variety was worth having."
    )
    title = "Variety along the run"
    blocks = [heading, *_sentence(part)]
    blocks.append(picture(reader, "training_variety", None, title=title, caption=caption, needs=VARIETY_NEEDS))
    changes = reader.frame("training_changes")
    if changes is not None:
        told = changes["less_variety"].astype("object").map({True: "yes", False: "no, more"}).fillna("cannot be told")
        shown = changes.assign(
            measure=changes["measure"].map(NAMES).fillna(changes["measure"]),
            less_variety=told.where(changes["measure"] != "passk_first", "accuracy, not variety"),
        )
        blocks.append(table_of(shown, CHANGE_COLUMNS, "From the base to the tuned model"))
    return [*blocks, Fold("Every checkpoint", (table_of(frame, VARIETY_COLUMNS, "Variety", sortable=True),))]


NAMES = {column.name: column.title for column in VARIETY_COLUMNS}
"""Measures of variety in words."""
