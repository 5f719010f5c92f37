"""Tokens as coloured text: who wrote each one, how far the two models disagreed there, what a probe said.

The same function serves the report and notebooks. Everything a model wrote is escaped: its markup shows as text.
Who wrote a token is never told by colour alone: tokens of the tuned model are underlined, steered ones underlined with
dashes, and a gate that opened without changing the token leaves dots.
What it does not show: why the models disagreed; a coloured token is a place, not a cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal

from markupsafe import Markup, escape

Colour = Literal["author", "js", "score", "strength"]
LN2 = math.log(2.0)

AUTHORS: Mapping[str, str] = {"base": "base model", "rl": "tuned model", "steered": "steered base model"}
"""Authors in words."""

_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_LINE_END = '<span class="eol" aria-hidden="true">↵</span>\n'


@dataclass(frozen=True)
class Token:
    """One token of a text and what is known of it; None is not measured.

    Attributes:
        text: the token decoded; may be empty or hold any character.
        author: ``base``, ``rl`` or ``steered``.
        js: Jensen–Shannon divergence of the two models before this token, in nats (0 to ln 2).
        open: whether the gate opened here.
        changed: whether the token differs from what the primary would have written.
        other: the token that was not written.
        score: a probe's score.
        strength: dose of steering here.
    """

    text: str
    author: str | None = None
    js: float | None = None
    open: bool = False
    changed: bool = False
    other: str | None = None
    score: float | None = None
    strength: float | None = None


class TokenHtml(Markup):
    """Escaped HTML that a notebook shows by itself."""

    def _repr_html_(self) -> str:
        return str(self)


def tokens_html(
    tokens: Sequence[Token | Mapping[str, Any]],
    *,
    colour: Colour = "author",
    label: str = "Tokens of one text",
    score_range: tuple[float, float] | None = None,
    standalone: bool = True,
) -> TokenHtml:
    """Render tokens as coloured, escaped HTML.

    Args:
        tokens: :class:`Token` or mappings with its fields; other keys of a mapping are ignored.
        colour: what the background shows; the underline always shows the author.
        label: read aloud by a screen reader before the text.
        score_range: scores of no and of full colour; None takes (0, 1), or the scores' own range if they leave it.
        standalone: bring the style along, as a notebook needs; the report has it already.

    Raises:
        ValueError: if a token has no text.
    """
    rows = [_token(item, place) for place, item in enumerate(tokens)]
    scales = _scales(rows, score_range)
    body = Markup("".join(_span(row, scales) for row in rows))
    style = Markup("<style>{}</style>").format(Markup(stylesheet())) if standalone else Markup("")
    # One tab stop for the whole text; the arrow keys walk through its marked tokens.
    return TokenHtml(
        Markup(
            '{}<div class="tokens" data-colour="{}" dir="auto" role="group" tabindex="0" aria-label="{}">{}</div>'
        ).format(style, colour, label, body)
    )


def authors(tokens: Sequence[Token | Mapping[str, Any]]) -> dict[str, int]:
    """How many tokens each author wrote, by name; tokens without an author are not counted."""
    counts: dict[str, int] = {}
    for place, item in enumerate(tokens):
        name = _token(item, place).author
        if name:
            counts[name] = counts.get(name, 0) + 1
    return counts


@cache
def stylesheet() -> str:
    """The rules that colour tokens."""
    return resources.files("probes.report").joinpath("tokens.css").read_text(encoding="utf-8")


def visible(text: str) -> str:
    """Control characters as their pictures (except newline and tab), half characters as the replacement character."""
    shown = text.translate(_PICTURES)
    return shown if shown.isascii() else shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _token(item: Token | Mapping[str, Any], place: int) -> Token:
    if isinstance(item, Token):
        return item
    if not isinstance(item.get("text"), str):
        raise ValueError(
            f"Token {place} has no text; give every token a 'text' string, empty if it decodes to nothing."
        )
    known = {field.name: item[field.name] for field in fields(Token) if item.get(field.name) is not None}
    return Token(**known | {name: float(known[name]) for name in ("js", "score", "strength") if name in known})


def _scales(rows: Sequence[Token], score_range: tuple[float, float] | None) -> dict[str, Callable[[float], float]]:
    """How each value becomes a depth of colour between 0 and 1."""
    scores = [row.score for row in rows if row.score is not None]
    low, high = score_range or (min([0.0, *scores]), max([1.0, *scores]))
    top = max([abs(row.strength) for row in rows if row.strength is not None] or [0.0])
    return {
        # The square root spreads the many small divergences; ln 2 is the most that two distributions can differ.
        "js": lambda value: math.sqrt(max(value, 0.0) / LN2),
        "score": lambda value: (value - low) / (high - low) if high > low else 0.0,
        "strength": lambda value: abs(value) / top if top else 0.0,
    }


def _span(row: Token, scales: Mapping[str, Callable[[float], float]]) -> str:
    # Plain strings, each escaped where it goes in: a page holds tens of thousands of tokens.
    classes = [
        "t",
        row.author if row.author in AUTHORS else "",
        "open" if row.open else "",
        "changed" if row.changed else "",
    ]
    marks, depths = [f'class="{" ".join(name for name in classes if name)}"'], []
    for name, scale in scales.items():
        value = getattr(row, name)
        if value is not None and math.isfinite(value):
            depths.append(f"--{name}:{min(max(scale(value), 0.0), 1.0):.2f}")
            marks.append(f'data-{name}="{value:.3g}"')
    if depths:
        marks.append(f'style="{";".join(depths)}"')
    if row.other is not None:
        marks.append(f'data-other="{escape(visible(row.other))}"')
    if row.author is not None:
        marks.append(f'data-by="{escape(AUTHORS.get(row.author, row.author))}"')
    text = str(escape(visible(row.text))).replace("\n", _LINE_END)
    return f"<span {' '.join(marks)}>{text}</span>"
