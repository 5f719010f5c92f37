"""Part of "How did it get there?": transfer between domains, and what orders of them did.

Drawn from the tables ``training_domains``, ``training_domain_runs`` and their fellows. What it does not show: the
spread between two runs of one order.
"""

from __future__ import annotations

import pandas as pd

from probes.report.blocks import Absent, Block, Fold, Heading, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, measures_table, table_of

NEEDS = (
    "It needs a run on each domain alone from one start (--order a=CHECKPOINT, --order b=CHECKPOINT), runs over all "
    "domains in at least two orders (--order a,b=CHECKPOINT) and joint training (--order a+b=CHECKPOINT), on problems "
    "with a field “domain”; at least five orders to hold predicted against actual ends."
)
TRANSFER = (
    Column("trained", "Trained on", "text"), Column("tested", "Tested on", "text"),
    interval("transfer", "Transfer", "points"),
)  # fmt: skip
RUNS = (
    Column("order", "Order", "text"),
    Column("recommended", "", "flag"),
    interval("final", "Mean accuracy at the end", "share"),
    interval("predicted", "Predicted", "share"),
    interval("backward", "Backward transfer", "points"),
    interval("forgetting", "Forgetting", "points"),
)
ENDS = (
    Column("order", "Order", "text"),
    Column("domain", "Domain", "text"),
    interval("actual", "Accuracy at the end", "share"),
    interval("predicted", "Predicted", "share"),
    interval("forgetting", "Forgetting", "points"),
)
ACCURACY = (
    Column("run", "Run", "text"),
    Column("domain", "Domain", "text"),
    interval("accuracy", "Accuracy", "share"),
    Column("problems", "Problems", "count", setting=True),
)
ENTROPY = (
    Column("domain", "Domain", "text"),
    interval("before", "Base", "nats"),
    interval("after", "Tuned", "nats"),
    interval("change", "Change", "nats"),
)


def ordered(reader: StudyReader) -> list[Block]:
    """The sentence, the transfer matrix, the orders and every accuracy; what it needs where no run was given."""
    heading = Heading("Does the order of domains matter?")
    frame = reader.frame("training_domains", needs=("trained", "tested", "transfer"))
    if frame is None:
        return [heading, Absent("Order of domains", NEEDS)]
    record = reader.record("training_domains")
    said = str(record.get("sentence") or "")
    blocks: list[Block] = [heading]
    if said:
        blocks.append(Text(f"{said[:1].upper()}{said[1:]}.", "finding"))
    caption = (
        "Change of accuracy on each domain after training on one alone. The greedy order takes next the domain whose "
        "training leaves the highest mean accuracy on the rest. It does not show a second run's spread."
    )
    blocks.append(picture(reader, "training_domains", None, title="Transfer", caption=caption, needs=NEEDS))
    blocks += _orders(reader, record)
    folded: list[Block] = [table_of(frame, TRANSFER, "Transfer between domains", sortable=True)]
    for name, columns, title in (
        ("training_domain_ends", ENDS, "Ends of each order by domain"),
        ("training_domain_accuracy", ACCURACY, "Every run on every domain"),
        ("training_domain_entropy", ENTROPY, "Mean entropy of a token in both models' greedy texts"),
    ):
        table = reader.frame(name)
        if table is not None:
            folded.append(table_of(_arrows(table), columns, title, sortable=True))
    return [*blocks, Fold("Domains in figures", tuple(folded))]


def _orders(reader: StudyReader, record: dict[str, object]) -> list[Block]:
    """What each order ended with, and the recommended one beside joint training and the others."""
    runs = reader.frame("training_domain_runs", needs=("order", "final"))
    if runs is None:
        return []
    greedy = runs["greedy"].fillna(False).astype(bool) if "greedy" in runs else pd.Series(False, index=runs.index)
    shown = runs.assign(recommended=greedy.map({True: "greedy", False: None}))
    note = "Predicted: the end of each single run plus the transfer of all that come later, as if these added up."
    measures = {"greedy order minus joint training": record.get("over_joint"),
                "greedy order minus the mean of other orders": record.get("over_others")}  # fmt: skip
    return [
        table_of(shown, RUNS, "Runs over all domains", note=note),
        measures_table(
            measures, "The greedy order, mean accuracy over domains", units=dict.fromkeys(measures, "points")
        ),
    ]


def _arrows(table: pd.DataFrame) -> pd.DataFrame:
    """Names of runs as the settings have them, in words: ``a,b`` is a, then b."""
    return table.assign(run=table["run"].str.replace(",", " → ").str.replace("+", " + ")) if "run" in table else table
