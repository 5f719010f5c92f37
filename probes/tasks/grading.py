"""Which samples are right?  Rollouts in, rollouts out, with the answer, the verdict and a second opinion beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hooks.rollouts import Rollouts
from probes.results import Result
from probes.stats import Estimate, wilson
from probes.tasks.extraction import extract
from probes.tasks.problems import Problem, by_id
from probes.tasks.reading import as_number, last_boxed, numbers
from probes.tasks.verify import plain_equal, verify


def grade(rollouts: Rollouts, problems: Sequence[Problem]) -> Rollouts:
    """Fill ``answer`` and ``correct``.

    Columns written: ``answer`` (as extracted; None if the text has none), ``correct`` (missing only where the verifier
    failed), ``extraction`` (how the answer was found), ``grade_error`` (why the verifier failed, else None)
    and ``correct_plain`` (a second opinion on mathematics, missing for other kinds).

    Args:
        rollouts: samples of these problems; graded ones are graded anew.
        problems: at least those that the rollouts are of.

    Raises:
        ValueError: if a rollout's problem is not among the problems, or two problems share an id.
    """
    known = by_id(problems)
    unknown = [name for name in dict.fromkeys(rollouts.frame["problem"]) if name not in known]
    if unknown:
        raise ValueError(f"no problem has the id {unknown[0]!r} ({len(unknown)} ids unknown); give the problems asked")
    rows = [_graded(text, known[name]) for name, text in zip(rollouts.frame["problem"], rollouts.frame["text"])]
    columns = list(zip(*rows)) or [()] * 5
    names = ("answer", "correct", "extraction", "grade_error", "correct_plain")
    return rollouts.with_columns(**dict(zip(names, columns)))


def _graded(text: str, problem: Problem) -> tuple[str | None, bool | None, str, str | None, bool | None]:
    numeric = problem.kind != "exact" and as_number(problem.answer) is not None
    found = extract(text, kind=problem.kind, numeric=numeric, question=problem.meta.get("question"))
    verdict = verify(found.answer, problem)
    plain = None
    if problem.kind == "math":
        plain = plain_equal(_plainly(text), problem.answer)
    return found.answer, verdict.correct, found.how, verdict.error, plain


def _plainly(text: str) -> str | None:
    """The answer as a simple script finds it: in the last tag, else in the last box, else the last number."""
    tagged = text.rpartition("<answer>")[2].partition("</answer>")
    if tagged[1]:
        return tagged[0].strip()
    boxed, written = last_boxed(text), numbers(text)
    return boxed if boxed is not None or not written else written[-1].text


@dataclass(frozen=True, repr=False, eq=False)
class Agreement(Result):
    """How often two verifiers agree, and what neither could judge."""

    frame: pd.DataFrame
    """A row each sample on which they disagree: problem, sample, model, answer, correct, correct_plain, extraction."""
    disagreement: Estimate
    """Share of the samples that both judged on which they differ."""
    errors: int
    """Samples on which the verifier failed."""
    unanswered: int
    """Samples without an answer."""

    def headline(self) -> str:
        """Rate of disagreement and counts of failures."""
        rate = "no second opinion" if not self.disagreement.measured else f"{self.disagreement:.1%} of judged samples"
        return f"Verifiers disagree on: {rate}; failed on {self.errors}, {self.unanswered} without an answer"


def agreement(rollouts: Rollouts) -> Agreement:
    """Compare verdict and second opinion of graded rollouts.

    The interval treats samples as independent, which several samples of one problem are not.  Does not show which of
    the two is right.

    Raises:
        ValueError: if the rollouts are not graded.
    """
    frame = rollouts.frame
    if "correct_plain" not in frame:
        raise ValueError("these rollouts have no second opinion; grade them first")
    correct, plain = frame["correct"].astype("boolean"), frame["correct_plain"].astype("boolean")
    judged = correct.notna() & plain.notna()
    differ = judged & (correct != plain).fillna(False)
    columns = ["problem", "sample", "model", "answer", "correct", "correct_plain", "extraction"]
    return Agreement(
        frame=frame.loc[differ, columns].reset_index(drop=True),
        disagreement=wilson(int(differ.sum()), int(judged.sum())),
        errors=int(frame["grade_error"].notna().sum()),
        unanswered=int((frame["extraction"] == "none").sum()),
    )
