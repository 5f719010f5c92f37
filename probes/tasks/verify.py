r"""Is this answer right?  One verdict a kind of problem, and a plain second opinion for mathematics.

Numbers are compared exactly as fractions; other mathematics goes to math-verify, called without its timeouts (they rest
on ``signal.alarm``, which works in no thread), so that answers whose evaluation could run away are refused beforehand.
reasoning-gym's verifiers give part marks to text around an answer and, in a few tasks, full marks to nonsense: they are
given the extracted answer only, and only full marks count.

A verifier that fails has not said "wrong": the verdict is then None and carries the error.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from probes.tasks.problems import Problem
from probes.tasks.reading import as_number

LONGEST = 500
"""Characters of an answer that math-verify is given; a longer one is no answer."""
_RUNAWAY = re.compile(r"\^\s*\{?\s*[-+]?\d{4,}|\*\*\s*\d{4,}|\^[^\s]{0,12}\^|\d{60,}|\d{4,}\s*!|!\s*!")


@dataclass(frozen=True)
class Verdict:
    """What a verifier said; ``correct`` is None exactly if it could not say, and ``error`` then says why."""

    correct: bool | None
    error: str | None = None


def verify(answer: str | None, problem: Problem) -> Verdict:
    """Judge an extracted answer.

    No answer is wrong, not missing: the text had its chance.  Errors of the verifier are returned, never raised.
    """
    if answer is None or not answer.strip():
        return Verdict(False)
    if problem.kind == "organism":
        return Verdict(answer.strip().isdigit() and int(answer) == int(problem.answer))
    if problem.kind == "exact":
        return Verdict(_folded(answer) == _folded(problem.answer))
    if problem.kind == "math":
        return verify_math(answer, problem.answer)
    return _verify_generated(answer, problem)


def verify_math(answer: str, gold: str) -> Verdict:
    """Judge mathematics: exact for numbers, math-verify for the rest; see the module for its limits."""
    number, right = as_number(answer), as_number(gold)
    if number is not None and right is not None:
        return Verdict(number == right or ("%" in answer and number / 100 == right))
    if _normal(answer) == _normal(gold):
        return Verdict(True)
    if len(answer) > LONGEST:
        return Verdict(False)
    if _RUNAWAY.search(answer):
        return Verdict(None, "not evaluated: the answer holds a power or factorial too large to work out")
    try:
        return Verdict(
            bool(_math_verify().verify(_parsed(gold), _parsed(answer), timeout_seconds=None, raise_on_error=True))
        )
    except Exception as error:  # noqa: BLE001 - sympy raises whatever it likes; the row carries the reason
        return Verdict(None, f"{type(error).__name__}: {str(error)[:200]}")


@lru_cache(maxsize=1)
def _math_verify() -> Any:
    import math_verify

    # It warns at every call without a timeout, which is how it is called here on purpose.
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return math_verify


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> list[Any]:
    text = re.sub(r"(?:√|(?<!\\)\bsqrt)\s*(?:\(([^()]*)\)|(\w+))", r"\\sqrt{\1\2}", expression)
    text = re.sub(r"(?<![\\\w])pi\b|π", r"\\pi ", text)
    text = text.replace("−", "-").replace("°", r"^\circ").replace("²", "^2").replace("³", "^3")
    return list(_math_verify().parse(text if "$" in text else f"${text}$", parsing_timeout=None, raise_on_error=True))


def plain_equal(answer: str | None, gold: str) -> bool:
    """A second opinion without any computer algebra: equal as plain numbers, or equal as text once spelling is evened.

    Does not know that one half may be written as a sum; where it disagrees with the verifier, look at the texts.
    """
    if answer is None:
        return False
    number, right = as_number(answer), as_number(gold)
    if number is not None and right is not None:
        return number == right
    return _normal(answer) == _normal(gold)


def _normal(text: str) -> str:
    text = re.sub(r"\\(?:text|mathrm|mbox|textbf)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\left|\\right|\\[,!;: ]|\\displaystyle|\^\{?\\circ\}?|°|\\[$%]|[$%{}]", "", text)
    text = text.replace("π", r"\pi").replace("−", "-")
    text = re.sub(r"^\s*[a-zA-Z]\w?\s*(?:=|\\in)\s*", "", text)
    return re.sub(r"\s+", "", text).rstrip(".").lower()


def _folded(text: str) -> str:
    return " ".join(text.split()).strip(" .\"'`*").casefold()


@lru_cache(maxsize=256)
def _scorer(task: str) -> Any:
    from reasoning_gym import get_score_answer_fn

    return get_score_answer_fn(task)


def _verify_generated(answer: str, problem: Problem) -> Verdict:
    if "entry" not in problem.meta:
        return Verdict(None, "the problem lacks the generator's record; load it with tasks.load")
    try:
        return Verdict(bool(_scorer(problem.kind.partition(":")[2])(answer=answer, entry=problem.meta["entry"]) >= 1.0))
    except Exception as error:  # noqa: BLE001 - verifiers of a hundred tasks raise whatever they like
        return Verdict(None, f"{type(error).__name__}: {str(error)[:200]}")
