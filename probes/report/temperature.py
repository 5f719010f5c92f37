"""Part of "What does it say?": the tuned model at the temperature at which it is as uncertain as the base.

Drawn from the tables ``temperature`` and ``temperature_passk``. What it does not show: that equal entropy is equal
exploration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.report.blocks import Block, Fold, Heading, Text
from probes.report.folder import StudyReader
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of, with_differences
from probes.report.wording import number

NEEDS = "It needs texts of the tuned model at several temperatures (stage “temperature” of a study)."
ARMS = {"base": "base, at its temperature", "rl": "tuned, at the matched one", "rl - base": "tuned − base"}
TRIED = (
    Column("temperature", "Temperature", "number", setting=True),
    Column("entropy", "Entropy of the tuned model", "nats"),
)
TRIES = (
    Column("model", "Model", "text"),
    Column("k", "k", "count", setting=True),
    interval("value", "pass@k", "share", ends=("low", "high"), units="unit"),
)


def matched(reader: StudyReader) -> list[Block]:
    """The matched temperature, pass@k there, and what was tried; nothing where the study has none."""
    frame = reader.frame("temperature", needs=("temperature", "entropy"))
    if frame is None:
        return []
    record = reader.record("temperature")
    found, first = number(record.get("temperature")), number(record.get("base_temperature"))
    blocks: list[Block] = [Heading("Equally uncertain")]
    if found is None or first is None:
        blocks.append(
            Text(
                f"No temperature was found at which the tuned model is as uncertain as the base: {record.get('note')}."
            )
        )
    else:
        said = (
            f"The tuned model is about as uncertain of its next token at temperature {found:.2f} as the base is at "
            f"{first:g}{_nats(record)} (one run, {record.get('problems')} problems; {record.get('note')})."
        )
        blocks.append(Text(said, "finding"))
    caption = "Entropy of the tuned model's next token on its own texts, by temperature; dotted, the base's entropy."
    blocks.append(picture(reader, "temperature", None, title="Entropy by temperature", caption=caption, needs=NEEDS))
    tries = reader.frame("temperature_passk", needs=("k", "model", "value"))
    if tries is not None:
        named = with_differences(tries).assign(model=tries["model"].map(ARMS))
        blocks.append(table_of(named, TRIES, "pass@k at about equal entropy"))
    return [*blocks, Fold("Temperatures that were tried", (table_of(frame, TRIED, "Entropy by temperature"),))]


def _nats(record: Mapping[str, Any]) -> str:
    reached, target = number(record.get("reached")), number(record.get("target"))
    return "" if reached is None or target is None else f": {reached:.3g} and {target:.3g} nats a token"
