r"""Reading a text for its numbers, sentences, formulas and boxes; the small words of :mod:`probes.tasks.extraction`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_THOUSANDS = r"(?:,|\\,|,\\!|\{,\})"
_NUMBER = re.compile(
    r"(?<![\w.^_\\])(?<!\d:)(?:(?<![\w)\]}])[-−–](?=[\d.$€£\\]))?\\?(?:[$€£]\s?)?"
    rf"(?:(?:\d{{1,3}}(?:{_THOUSANDS}\d{{3}})++|\d{{1,3}}(?: \d{{3}})++(?![\d-])|\d++)(?:\.\d++)?|\.\d++)(?:/\d++)?"
    r"(?!:\d|st\b|nd\b|rd\b|th\b)(?:\s?\\?%)?"
)
_UNIT = r"(?:\s*\\(?:text|mathrm|mbox|textrm|rm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?)"
_WORDS = r"(?:\s+(?!sqrt|pi|sin|cos|tan|log|exp|or|and|to\b)[A-Za-z]{3,}(?:[ /][A-Za-z]+)*)"
_PLAIN = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:\\[dt]?frac\s*(?:\{{(?P<top>\d+)\}}\s*\{{(?P<below>\d+)\}}|(?P<t>\d)\s*(?P<b>\d))|"
    rf"(?P<whole>\d+(?:\.\d*)?|\.\d+)(?:\s*/\s*(?P<over>\d+))?)(?:{_UNIT}|{_WORDS})?"
)
_ABBREVIATIONS = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|approx|No|Fig|Eq|i\.e|e\.g|a\.m|p\.m|[A-Za-z])\.$")


@dataclass(frozen=True)
class Number:
    """A number as it is written, and where."""

    text: str
    start: int
    stop: int

    @property
    def is_money(self) -> bool:
        """Whether a currency sign stands before it."""
        return any(sign in self.text for sign in "$€£")


def numbers(text: str) -> list[Number]:
    """The numbers of a text with sign, currency, thousands, fraction and percent sign; no times of day, no ordinals."""
    return [Number(match[0], match.start(), match.end()) for match in _NUMBER.finditer(text)]


def as_number(text: str) -> Fraction | None:
    r"""A plainly written number as an exact fraction, with currency, percent and unit aside; None for anything else.

    Knows ``\frac{a}{b}``, thousands in the usual spellings, and a unit after the number ("15 loaves").
    """
    bare = re.sub(r"\\[$%]|\\[,!;: ]|\{,\}|[$€£%°]|\^\{?\\circ\}?|\\(?:left|right|displaystyle)\b", "", text)
    bare = bare.replace("−", "-").replace("–", "-").strip().rstrip(".").strip()
    bare = re.sub(r"(?<=\d)[, ](?=\d{3}(?!\d))", "", bare)
    match = _PLAIN.fullmatch(bare)
    if match is None:
        return None
    below = int(match["below"] or match["b"] or match["over"] or 1)
    if below == 0:
        return None
    value = Fraction(match["top"] or match["t"] or match["whole"]) / below
    return -value if match["sign"] == "-" else value


def sentences(text: str) -> list[str]:
    """Sentences of a text: its lines, cut after full stops that end neither a number nor an abbreviation."""
    out: list[str] = []
    for line in text.splitlines():
        pending = ""
        for piece in re.split(r"(?<=[.!?])\s+(?=[^a-z\s])", line):
            pending = f"{pending} {piece}" if pending else piece
            if not _ABBREVIATIONS.search(pending):
                out.append(pending)
                pending = ""
        if pending:
            out.append(pending)
    return [sentence for sentence in out if sentence.strip()]


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete ``\boxed{...}`` (or ``\fbox{...}``), braces balanced; None without one."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth = 1
        for index in range(match.end(), len(text)):
            if text[index] in "{}" and text[index - 1] != "\\":
                depth += 1 if text[index] == "{" else -1
            if depth == 0:
                return text[match.end() : index]
    return None


def last_formula(text: str) -> str | None:
    r"""The last formula between ``$...$``, ``$$...$$``, ``\(...\)`` or ``\[...\]``; None without one."""
    found = re.findall(
        r"\$\$(.+?)\$\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|(?<![\\$])\$(?!\s)([^$\n]+?)(?<![\\\s])\$", text, re.DOTALL
    )
    return next((part.strip() for part in found[-1] if part), None) if found else None
