"""Section "Claims": each claim as commonly told, this pair's figure, the published figures, and a verdict by rule."""

from __future__ import annotations

import re
from typing import Any

from probes.report.blocks import Absent, Block, Cell, Claim, Claims, Published, Section
from probes.report.folder import StudyReader
from probes.report.pictures import GAIN_WORDS
from probes.report.wording import missing, plain, quantity

TONES = {
    "supported": ("good", "✓"),
    "contradicted": ("bad", "✕"),
    "mixed": ("mid", "≈"),
    "not identified": ("open", "?"),
    "not measured": ("open", "–"),
}
"""Verdicts with the tone of their badge and a sign, so that colour is not the only mark."""

_ARXIV = re.compile(r"^\d{4}\.\d{4,5}(v\d+)?$")


def verdicts(reader: StudyReader) -> Section:
    """The claims table."""
    question = (
        "Sentences commonly said about RL post-training, each turned into a measure with a rule for the verdict that "
        "was written before looking. One pair can contradict a general claim; it cannot prove one."
    )
    claims = tuple(_claim(item, reader.identified) for item in reader.listing("claims"))
    absent = Absent("Claims", "It needs the tables of the stages above, and then the claims stage of a study.")
    blocks: tuple[Block, ...] = (Claims(claims),) if claims else (absent,)
    return Section("claims", "Claims beside published figures", "Claims", question, blocks)


def _claim(item: dict[str, Any], identified: bool) -> Claim:
    verdict = plain(item.get("verdict") or "not measured").replace("_", " ").lower()
    tone, sign = TONES.get(verdict, ("open", "·"))
    measure = _word(item.get("measure"))
    notes = [
        (name, _sentences(item.get(key)))
        for key, name in (("rule", "Rule"), ("caveats", "Caveats"), ("needs", "Needs"))
    ]
    return Claim(
        title=_word(item.get("claim")).replace("_", " "),
        statement=_word(item.get("statement")),
        measure=measure,
        verdict=verdict,
        tone=tone,
        sign=sign,
        figure=_figure(item, identified, measure),
        published=tuple(_published(row) for row in item.get("published") or [] if isinstance(row, dict)),
        notes=tuple((name, text) for name, text in notes if text),
    )


def _figure(item: dict[str, Any], identified: bool, measure: str) -> Cell:
    told = f"{measure} {_word(item.get('claim'))} {_word(item.get('statement'))}".lower()
    if not identified and any(word in told for word in GAIN_WORDS):
        return Cell("not defined", "no gain to explain", kind="none")
    words = quantity(item.get("figure"), item.get("low"), item.get("high"), unit=str(item.get("unit") or "number"))
    if not words.measured and isinstance(item.get("figure"), str):
        return Cell(str(item["figure"]))
    return Cell(words.text, words.interval, kind="number" if words.measured else "none")


def _published(row: dict[str, Any]) -> Published:
    arxiv = _word(row.get("arxiv")).strip()
    return Published(
        paper=_word(row.get("paper")) or arxiv,
        metric=_word(row.get("metric")),
        value=_word(row.get("value")),
        status=_word(row.get("status")),
        link=f"https://arxiv.org/abs/{arxiv}" if _ARXIV.match(arxiv) else "",
    )


def _sentences(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(plain(item) for item in value)
    return _word(value)


def _word(value: Any) -> str:
    return "" if missing(value) else plain(value)
