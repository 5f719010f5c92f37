r"""In which format is a text written?  Two classifiers by rules, and one by the word that a text opens with.

``echo`` follows the verifier of arXiv 2504.07912 on the formats of its pretraining mixtures, with its two known faults
mended: ``llm-code`` holds the tag ``<llm-code>`` and code that works; ``tinygsm-code`` holds a line that matches
``^def \w+\(`` (the bare word "def" would also hit "define") and code that works; anything else is ``text``. Code that
does not work is ``failed-code`` and not text.

``general`` is for other models: ``code`` (the same marks, or a fenced block of a programming language),
``failed-code``, ``latex steps`` (displayed formulas, or most lines with formulas), ``list`` (most lines are items or
numbered steps), ``prose``, and ``empty``.

Whether code works is asked of :func:`parses`, which only reads it: *nothing that a model wrote is ever run here*. Who
has a sandbox passes its own ``runs``. All patterns look at each character a bounded number of times.

What it does not show: what a format is for. Code that parses may still fail or give another number, and a text that
mixes formats gets the first that applies.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping

Classifier = Callable[[str], str]
"""Text to the name of its format."""

LONGEST_CODE = 20_000
"""Characters of code beyond which it counts as failed: nested far enough, even reading it exhausts the stack."""

_DEF = re.compile(r"^def \w+\(", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)", re.MULTILINE)
_ITEM = re.compile(r"^[ \t]*(?:[-*•][ \t]|\d{1,3}[.)][ \t]|\*{0,2}Step \d{1,3}\b)")
_FORMULA = re.compile(r"\\[a-zA-Z]{3,}|\\[(\[]|\$")
_DISPLAY = re.compile(r"\\\[|\$\$|\\begin\{(?:align|equation|gather|aligned)")
_PYTHON = frozenset({"python", "py", "python3"})
_LANGUAGES = _PYTHON | {"c", "cpp", "java", "javascript", "js", "r", "matlab", "ruby", "sql"}
MOST = 0.5
"""Share of lines that have to be items (or hold formulas) for a list (or LaTeX steps)."""
FEWEST = 3
"""Lines or displayed formulas below which neither is called."""


def parses(code: str) -> bool:
    """Whether code is Python that can be read; it is parsed and never run. False beyond :data:`LONGEST_CODE`.

    It does not show that the code runs, nor what it would give.
    """
    if not code.strip() or len(code) > LONGEST_CODE:
        return False
    try:
        with warnings.catch_warnings():
            # What a model wrote may hold bad escapes; they are no news to whoever reads a table of formats.
            warnings.simplefilter("ignore")
            ast.parse(textwrap.dedent(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def echo_format(text: str, *, runs: Callable[[str], bool] = parses) -> str:
    """``llm-code``, ``tinygsm-code``, ``failed-code`` or ``text``, as arXiv 2504.07912 tells them apart.

    Args:
        text: what a model wrote.
        runs: whether a piece of code works; by default it only has to parse. Pass a sandbox of your own to run code.

    It does not show whether the code's result is right.
    """
    if "<llm-code>" in text:
        inside = text.split("<llm-code>", 1)[1].split("</llm-code>", 1)[0]
        return "llm-code" if runs(inside) else "failed-code"
    found = _DEF.search(text)
    if found is None:
        return "text"
    return "tinygsm-code" if runs(function_at(text, found.start())) else "failed-code"


def general_format(text: str, *, runs: Callable[[str], bool] = parses) -> str:
    """``code``, ``failed-code``, ``latex steps``, ``list``, ``prose`` or ``empty``; see the head of this file.

    Args:
        text: what a model wrote.
        runs: whether Python works, see :func:`echo_format`; blocks of other languages are taken for working.

    It does not show how much of a mixed text is in the format that names it.
    """
    if not text.strip():
        return "empty"
    code, language = _code(text)
    if code is not None:
        return "code" if language not in _PYTHON or runs(code) else "failed-code"
    lines = [line for line in text.splitlines() if line.strip()]
    displayed = sum(1 for _ in _DISPLAY.finditer(text))
    formulas = sum(1 for line in lines if _FORMULA.search(line))
    if displayed >= FEWEST or (formulas >= FEWEST and formulas > MOST * len(lines)):
        return "latex steps"
    items = sum(1 for line in lines if _ITEM.match(line))
    return "list" if items >= FEWEST and items > MOST * len(lines) else "prose"


def opening(marks: Mapping[str, str], *, otherwise: str = "other") -> Classifier:
    """A classifier by the word that a text opens with: each mark stands for a format.

    Args:
        marks: what a text begins with, and the name of that format; the longest mark that fits counts.
        otherwise: name for texts that open with none of them.

    It does not show how a text goes on.
    """
    ordered = sorted(marks, key=len, reverse=True)
    return lambda text: next((marks[mark] for mark in ordered if text.startswith(mark)), otherwise)


def function_at(text: str, start: int) -> str:
    """The function whose ``def`` stands at ``start``: that line and the indented or blank lines that follow it.

    It does not follow a signature that runs over several lines at the margin.
    """
    lines = text[start:].splitlines()
    stop = 1
    while stop < len(lines) and (not lines[stop].strip() or lines[stop][0] in " \t"):
        stop += 1
    return "\n".join(lines[:stop])


def _code(text: str) -> tuple[str | None, str]:
    """The first piece of code and its language; None where there is none."""
    if "<llm-code>" in text:
        return text.split("<llm-code>", 1)[1].split("</llm-code>", 1)[0], "python"
    fences = list(_FENCE.finditer(text))
    for place, fence in enumerate(fences):
        language = fence[1].lower()
        if language in _LANGUAGES:
            stop = fences[place + 1].start() if place + 1 < len(fences) else len(text)
            return text[fence.end() : stop], language
    found = _DEF.search(text)
    return (None, "") if found is None else (function_at(text, found.start()), "python")


CLASSIFIERS: Mapping[str, Classifier] = {"echo": echo_format, "general": general_format}
"""Classifiers by name."""
