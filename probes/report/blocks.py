"""What a page is made of, before it is HTML: sections of blocks, each block a frozen record that the template knows.

A block says what it is (``shape``) and holds text and numbers already in words; the template only lays them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` is ``plain``, ``note`` (smaller) or ``finding`` (set off)."""

    shape: ClassVar[str] = "text"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Absent:
    """Something that was not measured, and what measuring it needs."""

    shape: ClassVar[str] = "absent"
    what: str
    needs: str


@dataclass(frozen=True)
class Figure:
    """A plotly figure as JSON that is safe inside a script element, with the words that stand for it."""

    shape: ClassVar[str] = "figure"
    name: str
    title: str
    caption: str
    json: Markup


@dataclass(frozen=True)
class Cell:
    """One cell in words: text, a second smaller line, a bar from 0 to 1, and flags shown as badges."""

    text: str
    small: str = ""
    kind: str = "text"
    bar: float | None = None
    badges: tuple[str, ...] = ()
    sort: float | None = None


@dataclass(frozen=True)
class Table:
    """A table in words; the first column is the head of its row."""

    shape: ClassVar[str] = "table"
    caption: str
    titles: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    sortable: bool = False


@dataclass(frozen=True)
class Card:
    """A key figure: label, number, interval and a note."""

    label: str
    text: str
    interval: str
    note: str
    measured: bool


@dataclass(frozen=True)
class Cards:
    """Key figures side by side."""

    shape: ClassVar[str] = "cards"
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Bullets:
    """A list of short statements."""

    shape: ClassVar[str] = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """A command or a record, to be copied."""

    shape: ClassVar[str] = "code"
    label: str
    text: str


@dataclass(frozen=True)
class TokenText:
    """One text of the token view: what its summary says, the prompt, and the tokens already rendered."""

    problem: str
    verdict: str
    summary: str
    prompt: str
    tokens: Markup


@dataclass(frozen=True)
class TokenView:
    """Texts with coloured tokens; ``modes`` are the values that the colour can show, with their words.

    ``more`` are texts that are folded away until asked for.
    """

    shape: ClassVar[str] = "tokens"
    texts: tuple[TokenText, ...]
    modes: tuple[tuple[str, str], ...]
    more: tuple[TokenText, ...] = ()


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    shape: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks that are folded away until asked for."""

    shape: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Claim:
    """One claim beside this pair's figure, the published figures and the rule that gave the verdict."""

    title: str
    statement: str
    measure: str
    verdict: str
    tone: str
    sign: str
    figure: Cell
    findings: tuple[Finding, ...]
    published: tuple[Published, ...]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """One part of a claim: a number against its bar, by a rule."""

    name: str
    rule: str
    verdict: str
    tone: str
    sign: str
    figure: Cell


@dataclass(frozen=True)
class Published:
    """A published figure: paper, metric, value, how well it was checked, and a link where the arXiv id is one."""

    paper: str
    metric: str
    value: str
    status: str
    link: str


@dataclass(frozen=True)
class Claims:
    """All claims."""

    shape: ClassVar[str] = "claims"
    claims: tuple[Claim, ...]


Block = Text | Absent | Figure | Table | Cards | Bullets | Code | TokenView | Heading | Fold | Claims


@dataclass(frozen=True)
class Section:
    """A section of the page: anchor, heading, its name in the contents, the question in plain words, and its blocks."""

    key: str
    title: str
    short: str
    question: str
    blocks: tuple[Block, ...] = field(default=())
