"""Section "Claims": each claim as commonly told, this pair's figure, the published figures, and a verdict by rule."""

from __future__ import annotations

import re
from typing import Any

from probes.report.blocks import Absent, Block, Cell, Claim, Claims, Finding, Published, Section
from probes.report.folder import StudyReader
from probes.report.pictures import of_the_gain
from probes.report.wording import missing, plain, quantity

TONES = {
    "supported": ("good", "✓"),
    "contradicted": ("bad", "✕"),
    "mixed": ("mid", "≈"),
    "not identified": ("open", "?"),
    "not measured": ("open", "–"),
}
"""Verdicts with the tone of their badge and a sign, so that colour is not the only mark."""

STATUS = {"G": "read in the source", "G(note)": "read in a third-party summary", "M": "recalled, not checked"}
"""How well a published figure was checked, in words."""

BOUNDS = {
    "more than": "> ",
    "at least": "≥ ",
    "less than": "< ",
    "fewer than": "< ",
    "at most": "≤ ",
    "about": "≈ ",
}
"""Notes that make a published figure a bound, and the sign that says so."""

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
    verdict, tone, sign = _verdict(item.get("verdict"))
    findings = tuple(_finding(row, identified) for row in _rows(item.get("findings")))
    # The rules of the findings stand beside each of them; a claim without findings has one rule.
    keys = (("rule", "Rule"), ("caveats", "Caveats"), ("needs", "Needs"))
    notes = [(name, _sentences(item.get(key))) for key, name in keys if not (findings and key == "rule")]
    return Claim(
        title=_word(item.get("claim")).replace("_", " "),
        statement=_word(item.get("statement")),
        measure=_word(item.get("measure")),
        verdict=verdict,
        tone=tone,
        sign=sign,
        figure=_figure(item, identified, [item.get(key) for key in ("claim", "statement", "measure", "key")]),
        findings=findings,
        published=tuple(_published(row) for row in _rows(item.get("published"))),
        notes=tuple((name, text) for name, text in notes if text),
    )


def _finding(row: dict[str, Any], identified: bool) -> Finding:
    verdict, tone, sign = _verdict(row.get("verdict"))
    figure = _figure({**row, "figure": row.get("value")}, identified, [row.get("name")])
    return Finding(_word(row.get("name")), _word(row.get("rule")), verdict, tone, sign, figure)


def _verdict(value: Any) -> tuple[str, str, str]:
    verdict = plain(value or "not measured").replace("_", " ").lower()
    return (verdict, *TONES.get(verdict, ("open", "·")))


def _figure(item: dict[str, Any], identified: bool, told: list[Any]) -> Cell:
    if not identified and of_the_gain(told):
        return Cell("not defined", "no gain to explain", kind="none")
    if isinstance(item.get("figure"), str):
        return Cell(str(item["figure"]))
    words = quantity(item.get("figure"), item.get("low"), item.get("high"), unit=str(item.get("unit") or "number"))
    return Cell(words.text, words.interval, kind="number" if words.measured else "none")


def _published(row: dict[str, Any]) -> Published:
    arxiv, status = _word(row.get("arxiv")).strip(), _word(row.get("status"))
    value = row.get("value")
    words = _word(value) if isinstance(value, str) or missing(value) else quantity(value, unit=_unit(row)).text
    bound, note = _bound(_word(row.get("note")))
    return Published(
        paper=_word(row.get("paper")) or arxiv,
        metric="; ".join(part for part in (_word(row.get("metric")), note) if part),
        value=f"{bound}{words}" if words else words,
        status=STATUS.get(status, status),
        link=f"https://arxiv.org/abs/{arxiv}" if _ARXIV.match(arxiv) else "",
    )


def _bound(note: str) -> tuple[str, str]:
    """The sign of a note that begins with a bound, and what else the note says."""
    first, _, rest = note.partition(";")
    sign = BOUNDS.get(first.strip().lower())
    return ("", note) if sign is None else (sign, rest.strip())


def _unit(row: dict[str, Any]) -> str:
    return str(row.get("unit") or "number")


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _sentences(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(plain(item) for item in value)
    return _word(value)


def _word(value: Any) -> str:
    return "" if missing(value) else plain(value)
