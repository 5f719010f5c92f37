"""Why does an accuracy graded here differ from a published one, when only totals were published?

Every text is sorted by rules on its words alone:

* *unmarked*: its answer was read off, no words announced it;
* *breaks off*: no answer in a tag or a box, and its last line does not end as a sentence or a formula does: there was
  no room left;
* *holds*: the right answer stands somewhere in it.

*Lenient* is the accuracy where texts that break off with the right answer already in them pass as well, as a judge
passes them who takes the writer's word for what was to come.

A judge that passes more than the verifier has passed texts that the verifier failed. These can be texts that break
off, which a lenient judge completes itself, or texts that hold the right answer at a place that is not their last word
(they run on, or turn back on it). If fewer failed texts hold the right answer than the judge passed beyond the
verifier, then the rest was passed without the right answer ever being written: at least so often the judge missed. A
judge that passes fewer has failed texts that the verifier passed: unmarked ones, or ones that run on.

What it does not show: which texts these are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from hooks.rollouts import Rollouts
from probes.tasks import Problem, plain_equal
from probes.tasks.problems import by_id
from probes.tasks.reading import as_number, numbers

Marks = Bool[np.ndarray, "text"]

LIMIT = 3.0
"""Points of accuracy beyond which a difference needs a cause."""
MARKED = ("tag", "boxed", "hash")
"""Ways of finding an answer that stands in a place made for it."""
ANNOUNCED = (*MARKED, "stated")
"""Ways of finding an answer that its writer announced."""
_ENDED = re.compile(r"(?:[.!?)\]}$\"'`”’]|\*\*)\s*$")


def breaks_off(text: str) -> bool:
    """Whether a text stops inside a line: it ends in a word, an operator or a number, and not with a sign that closes.

    It does not show that a text which ends with a full stop was finished.
    """
    return bool(text.strip()) and not _ENDED.search(text)


def holds(text: str, problem: Problem) -> bool:
    """Whether the right answer stands anywhere in a text, as a number or spelt as the reference spells it.

    It does not show that the text gives it as its answer.
    """
    right = as_number(problem.answer)
    if right is not None and any(as_number(number.text) == right for number in numbers(text)):
        return True
    bare = re.sub(r"\\text\{([^{}]*)\}", r"\1", problem.answer)
    marked = re.findall(r"\$([^$\n]{1,200})\$|\\\((.{1,200}?)\\\)|\\boxed\{([^\n]{1,200})\}", text)
    if any(plain_equal(part, problem.answer) for parts in marked for part in parts if part):
        return True
    spelt = "".join(bare.split())
    return right is None and len(spelt) > 2 and spelt in "".join(text.split())


@dataclass(frozen=True)
class _Sorted:
    """Truth values, one a text."""

    passed: Marks
    announced: Marks
    broken: Marks
    within: Marks


def _sort(graded: Rollouts, problems: Sequence[Problem]) -> _Sorted:
    known, frame = by_id(problems), graded.frame
    texts = list(zip(frame["problem"], frame["text"], strict=True))
    passed = frame["correct"].fillna(False).to_numpy(dtype=bool)
    marked = frame["extraction"].isin(MARKED).to_numpy()
    return _Sorted(
        passed=passed,
        announced=frame["extraction"].isin(ANNOUNCED).to_numpy(),
        broken=~marked & np.array([breaks_off(text) for _, text in texts], dtype=bool),
        within=passed | np.array([holds(text, known[name]) for name, text in texts], dtype=bool),
    )


def leniently(graded: Rollouts, problems: Sequence[Problem]) -> Bool[np.ndarray, "text"]:
    """Whether each text passes where one that breaks off with the right answer already in it passes too.

    It does not show that such a text would have ended with that answer.
    """
    texts = _sort(graded, problems)
    return texts.passed | (texts.broken & texts.within)


def why(graded: Rollouts, problems: Sequence[Problem], *, published: float) -> dict[str, Any]:
    """Counts of texts by rule, and the cause of a difference beyond :data:`LIMIT` points in words.

    Args:
        graded: texts of one model, graded.
        problems: what they answer.
        published: the published accuracy, as a share.

    Returns:
        ``unmarked``, ``breaks_off`` and ``holds`` (among the texts failed here), ``failed``, ``lenient`` (see the head
        of this file), ``judge_misses`` (the
        least number of texts that the judge passed though they never hold the right answer, or failed though they end
        with it), ``explained`` and ``why``.

    It does not show which texts the judge saw otherwise.
    """
    texts = _sort(graded, problems)
    passed, announced, broken, within = texts.passed, texts.announced, texts.broken, texts.within
    failed = ~passed
    beyond = round(published * len(passed)) - int(passed.sum())
    counts = {
        "failed": int(failed.sum()),
        "unmarked": int((failed & ~announced).sum()),
        "breaks_off": int((failed & broken).sum()),
        "holds": int((failed & within).sum()),
    }
    able = int((failed & (broken | within)).sum()) if beyond > 0 else int((passed & ~announced).sum())
    misses = max(0, beyond - counts["holds"]) if beyond > 0 else max(0, -beyond - able)
    apart = abs(passed.mean() - published) * 100 > LIMIT if len(passed) else False
    lenient = float(leniently(graded, problems).mean()) if len(passed) else math.nan
    out: dict[str, Any] = {**counts, "lenient": lenient, "judge_misses": misses, "explained": abs(beyond) <= able}
    if not apart:
        return out | {"why": ""}
    if not out["explained"]:
        return out | {"why": f"not explained: the judge differs on {abs(beyond)} texts, rules account for {able}"}
    if beyond < 0:
        return out | {"why": f"the judge passed {-beyond} fewer; {able} passed here never announce their answer"}
    split = {
        "break off before an answer, without the right value": failed & broken & ~within,
        "break off, the right value already in them": failed & broken & within,
        "hold the right value and end with another, announced": failed & ~broken & within & announced,
        "hold the right value and end with another, unmarked": failed & ~broken & within & ~announced,
    }
    found = sorted(((int(which.sum()), what) for what, which in split.items() if which.any()), reverse=True)
    named = ", ".join(f"{count} {what}" for count, what in found)
    sure = f"; at least {misses} passed though the right answer is never written" if misses else ""
    passing = f"; with those that break off, the right value in them, {lenient:.1%} pass"
    return out | {"why": f"the judge passed {beyond} more; of {counts['failed']} failed here {named}{passing}{sure}"}
