"""The last sections: how the numbers were made and what they cannot show; the manifest and the command to redo it."""

from __future__ import annotations

import json

from probes.report.blocks import Absent, Block, Bullets, Cell, Code, Fold, Heading, Section, Table, Text
from probes.report.folder import StudyReader
from probes.report.tables import pairs_table
from probes.report.wording import number, plain, quantity

METHOD = (
    "Both models get the same prompts and are graded by the same verifier; token ids, never text, pass between them.",
    "Intervals come from resampling problems, 95 % unless the settings say otherwise; comparisons of the two models "
    "are paired by problem. A number without one says “one run”.",
    "Probes are scored on problems they were not fitted on, beside shuffled labels, baselines that see no "
    "activation, and the best that any probe could reach where that is known.",
    "Steering vectors come from base activations on base text, beside random vectors of the same length.",
    "Routing is compared with the same number of tokens at random places. Every random draw has a name, so the same "
    "command gives the same tables.",
)

CAVEATS = (
    "A token from the tuned model brings what to say as well as when. Only arms that let it choose among the base "
    "model's own candidates, or that put in steered base tokens, speak of timing alone.",
    "A probe that reads a strategy shows that it can be read, not that the model uses it.",
    (
        "A vector that works at one layer and dose was found by looking; the page gives the whole curve and the random "
        "vectors."
    ),
    (
        "pass@k says nothing beyond its largest k, and lucky guesses count as solutions unless the answers are hard to "
        "guess."
    ),
    "Unchanged weights in bf16 may have moved by less than the format can hold.",
    "Rules that label strategies make mistakes; both models are read by the same rules.",
    "One pair is one training run. Another seed, base model or reward may tell another story.",
)


def method(reader: StudyReader) -> Section:
    """What was done, what it cannot show, how the two checkpoints differ, and files that could not be read."""
    question = "How the numbers on this page were made, and what they cannot show."
    blocks: list[Block] = [Bullets(METHOD), Heading("What this page does not show"), Bullets(CAVEATS)]
    blocks += [Heading("The two checkpoints"), *_pair(reader)]
    # Last, when every file has been asked for.
    if reader.broken:
        blocks += [Heading("Files that could not be read"), Bullets(tuple(reader.broken.values()))]
    return Section("method", "Method and caveats", "Method", question, tuple(blocks))


def _pair(reader: StudyReader) -> list[Block]:
    record = reader.record("pair")
    if not record:
        return [Absent("Comparison of the checkpoints", "It needs both checkpoints to be loaded once.")]
    blocks: list[Block] = []
    shared = number(record.get("shared_fraction"))
    if shared is not None:
        blocks.append(
            Text(f"Share of the bytes that both checkpoints hold in common: {quantity(shared, unit='share').text}.")
        )
    differences = [row for row in record.get("differences") or [] if isinstance(row, dict)]
    if differences:
        rows = tuple(tuple(Cell(plain(row.get(key))) for key in ("what", "base", "rl")) for row in differences)
        titles = ("What", "Base", "Tuned")
        blocks.append(Table("Where the checkpoints differ besides their weights", titles, ("text",) * 3, rows))
    elif "differences" in record:
        blocks.append(Text("They differ in nothing but their weights."))
    if record.get("text"):
        blocks.append(Fold("As the pair describes itself", (Code("Description of the pair", str(record["text"])),)))
    return blocks


def manifest(reader: StudyReader) -> Section:
    """Settings, versions, time, and the command that does it again."""
    question = "Everything needed to do this again. The tables behind every figure lie beside this page as parquet."
    study, blocks = reader.study, list[Block]()
    command = study.get("command")
    if isinstance(command, str) and command:
        blocks.append(Code("Do it again", command))
    else:
        blocks.append(Absent("The command", "It needs study.json, which a study writes when it starts."))
    for entries, caption, titles in (
        (study.get("versions"), "Versions", ("Package", "Version")),
        (reader.seconds, "Seconds by stage", ("Stage", "Seconds")),
        (study.get("config"), "Settings", ("Setting", "Value")),
    ):
        if isinstance(entries, dict) and entries:
            table = pairs_table(entries, caption, titles=titles)
            blocks.append(table if len(table.rows) <= 12 else Fold(f"{caption} ({len(table.rows)})", (table,)))
    files = reader.rollouts()
    if files:
        named = Bullets(tuple(f"rollouts/{name}" for name in files))
        blocks.append(Fold(f"Tables of samples ({len(files)})", (named,)))
    if study:
        text = json.dumps(study, indent=2, ensure_ascii=False)
        blocks.append(Fold("The whole manifest", (Code("study.json", text),)))
    return Section("manifest", "Manifest", "Manifest", question, tuple(blocks))
