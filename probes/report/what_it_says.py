"""Section "What does it say?": accuracy, pass@k, length, entropy, strategies and token shift in the models' texts."""

from __future__ import annotations

import pandas as pd

from probes.report.blocks import Absent, Block, Cell, Fold, Heading, Section, Table, Text
from probes.report.calibration import calibrated
from probes.report.contrasts import contrasted
from probes.report.drawings import pass_at_k, strategy_bars
from probes.report.folder import StudyReader
from probes.report.formats import formatted
from probes.report.majority import voted
from probes.report.names import PASSK, SHIFT
from probes.report.pictures import picture
from probes.report.reflection import reflected
from probes.report.shortcuts import shortened
from probes.report.suppression import suppressed
from probes.report.tables import Column, interval, measures_table, table_of, with_differences
from probes.report.temperature import matched
from probes.report.wording import number, quantity

SAMPLES = "It needs several samples of each problem from both models (stages “rollouts” and “samples” of a study)."
SCORES = "It needs both models to read the same tokens (stage “shift” of a study)."
LABELS = "It needs strategy labels on the texts (stage “strategies” of a study)."


def what_it_says(reader: StudyReader) -> Section:
    """Accuracy, pass@k, strategies, token shift."""
    question = (
        "What changes in the texts themselves: how often they are right, whether the base model gets there too when "
        "it may try often, how long and how varied they are, and at how many tokens the two models would part."
    )
    blocks = (
        *_accuracy(reader),
        *_passk(reader),
        *voted(reader),
        *matched(reader),
        *suppressed(reader),
        *calibrated(reader),
        *formatted(reader),
        *shortened(reader),
        *reflected(reader),
        *contrasted(reader),
        *_strategies(reader),
        *_shift(reader),
    )
    return Section("what-it-says", "What does it say?", "What it says", question, blocks)


def _accuracy(reader: StudyReader) -> list[Block]:
    frame = reader.frame("accuracy")
    if frame is None:
        return [Heading("Accuracy, length, entropy"), Absent("Accuracy", SAMPLES)]
    written = reader.frame("writing", needs=("arm", "quantity", "value"))
    # Where the texts were measured problem by problem, their table has length and entropy with intervals.
    plain = (
        ()
        if written is not None
        else (Column("length", "Mean length (tokens)"), Column("entropy", "Mean entropy", "nats"))
    )
    columns = (
        Column("model", "Model", "text"),
        Column("decoding", "Decoding", "text"),
        interval("accuracy", "Accuracy", "share", ends=("low", "high")),
        *plain,
        Column("n_problems", "Problems", "count", setting=True),
        Column("n_samples", "Samples", "count", setting=True),
    )
    blocks: list[Block] = [
        Heading("Accuracy, length, entropy"),
        table_of(_named(frame), columns, "Both models on the same problems"),
    ]
    if written is not None:
        blocks.append(quantities(written))
    templates = reader.frame("templates")
    if templates is not None:
        crossed = (Column("model", "Model", "text"), Column("template", "Template", "text"), columns[2])
        blocks.append(table_of(_named(templates), crossed, "Greedy accuracy under each prompt template"))
    return blocks


UNITS = {"accuracy": "share", "cut off": "share", "distinct answers": "share", "entropy": "nats", "surprise": "nats"}


def quantities(frame: pd.DataFrame) -> Table:
    """A row a quantity and a column an arm, each number with its interval in its own unit."""
    arms = list(dict.fromkeys(frame["arm"]))
    known = {(row["quantity"], row["arm"]): row for row in frame.to_dict("records")}
    rows = []
    for name in dict.fromkeys(frame["quantity"]):
        cells = [Cell(str(name))]
        for arm in arms:
            row = known.get((name, arm), {})
            unit = UNITS.get(str(name), "number")
            unit = "points" if unit == "share" and " - " in str(arm) else unit
            words = quantity(row.get("value"), row.get("low"), row.get("high"), unit=unit)
            cells.append(Cell(words.text, words.interval, "number" if words.measured else "none"))
        rows.append(tuple(cells))
    titles = ("Greedy texts", *(str(arm).replace("rl", "tuned").replace(" - ", " − ") for arm in arms))
    return Table("Length and certainty of the texts", titles, ("text", *["number"] * len(arms)), tuple(rows))


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Models in words."""
    return (
        frame.assign(model=frame["model"].replace({"rl": "tuned", "rl - base": "tuned − base"}))
        if "model" in frame
        else frame
    )


def _passk(reader: StudyReader) -> list[Block]:
    frame, record = reader.frame("passk"), reader.record("passk")
    heading = Heading("Given many tries")
    if frame is None and not record and reader.figure("passk") is None:
        return [heading, Absent("pass@k", SAMPLES)]
    caption = (
        "Share of problems solved at least once in k samples, with bands. Where the base model's curve reaches the "
        "tuned one's, RL made known solutions likelier rather than new ones possible, as far as these problems can "
        "tell."
    )
    crossing = record.get("crossing")
    at = number(crossing.get("value") if isinstance(crossing, dict) else crossing)
    drawn = None if frame is None else pass_at_k(frame, crossing=at)
    blocks: list[Block] = [heading, picture(reader, "passk", drawn, title="pass@k", caption=caption, needs=SAMPLES)]
    if record:
        unknown = () if crossing is not None else ("crossing",)
        known = {key: record[key] for key in record if key not in ("crossing_note", *unknown)}
        if isinstance(said := record.get("crossing_note"), str) and said:
            blocks.append(Text(f"{said[:1].upper()}{said[1:].rstrip('.')}."))
        solvable = record.get("solvable")
        counted = isinstance(solvable, dict) and any((number(part) or 0) > 1 for part in solvable.values())
        units = {**PASSK_UNITS, "solvable": "count" if counted else "share"}
        blocks.append(measures_table(known, "Crossing and solvable problems", units=units, words=PASSK))
    if frame is not None:
        columns = (
            Column("model", "Model", "text"),
            Column("k", "k", "count", setting=True),
            interval("value", "pass@k", "share", ends=("low", "high"), units="unit"),
        )
        named = _named(with_differences(frame))
        blocks.append(Fold("pass@k at every k", (table_of(named, columns, "pass@k", sortable=True),)))
    return blocks


PASSK_UNITS = {"base_at_the_largest_k_minus_tuned_at_1": "points", "solved_by_both_over_solved_by_either": "share"}


def _strategies(reader: StudyReader) -> list[Block]:
    frame = reader.frame("strategies")
    heading = Heading("Strategies in the texts")
    if frame is None and reader.figure("strategies") is None:
        return [heading, Absent("Strategies", LABELS)]
    drawn = None if frame is None else strategy_bars(frame)
    caption = "How often each strategy turns up in a text of each model, by the rules that label spans; one run."
    blocks: list[Block] = [
        heading,
        picture(reader, "strategies", drawn, title="Strategies by model", caption=caption, needs=LABELS),
    ]
    if frame is not None:
        columns = (
            Column("strategy", "Strategy", "text"),
            Column("model", "Model", "text"),
            Column("per_text", "Times a text"),
            Column("share", "Texts that use it", "share", bar=True),
        )
        by = [name for name in ("strategy", "model") if name in frame]
        table = table_of(_named(frame.sort_values(by) if by else frame), columns, "Strategies by model", sortable=True)
        blocks.append(Fold("Strategies as a table", (table,)))
    return blocks


def _shift(reader: StudyReader) -> list[Block]:
    frame, record = reader.frame("shift"), reader.record("shift")
    heading = Heading("Token shift")
    along = reader.figure("js_by_position")
    if frame is None and not record and along is None:
        return [heading, Absent("Token shift", SCORES)]
    blocks: list[Block] = [heading]
    if along is not None:
        caption = (
            "Means over texts by place in the text, one run: how far the two models differ (Jensen–Shannon divergence, "
            "JS; at most ln 2 = 0.69 nats), and how uncertain each is (entropy)."
        )
        title = "Along the text"
        blocks.append(picture(reader, "js_by_position", None, title=title, caption=caption, needs=SCORES))
    if frame is not None:
        columns = (
            Column("what", "Measure", "text"),
            interval("value", "Share of tokens", "share", ends=("low", "high")),
        )
        blocks.append(table_of(frame, columns, "How far the tuned model departs from the base on its own texts"))
    if record:
        blocks.append(Fold("More on token shift", (measures_table(record, "Token shift", words=SHIFT),)))
    perplexity = reader.frame("perplexity", needs=("author", "reader"))
    if perplexity is not None:
        readers = (
            Column("author", "Written by", "text"),
            Column("reader", "Read by", "text"),
            Column("ppl", "Perplexity"),
            Column("median", "Median of texts"),
            Column("q25", "Lower quartile"),
            Column("q75", "Upper quartile"),
            Column("tokens", "Tokens", "count", setting=True),
        )
        table = table_of(perplexity.replace({"rl": "tuned"}), readers, "Each model reads both models' texts")
        blocks.append(Fold("Perplexity of each model's texts under both", (table,)))
    return blocks
