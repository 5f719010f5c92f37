"""A problem: what is asked, what is right, and which verifier may say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

KINDS = ("math", "exact", "organism")
"""Kinds of answers, besides ``reasoning_gym:<name>``: mathematics, a text to be matched, a chain modulo 100."""


@dataclass(frozen=True)
class Problem:
    """One problem; anything with an ``id`` and a ``prompt`` can be given to a model, the rest is for the verifier.

    Raises:
        ValueError: for an empty id or an unknown kind.
    """

    id: str
    """Distinct within a list of problems; rollouts carry it."""
    prompt: str
    """The text a model is given, before any chat template."""
    answer: str
    """The right answer as text: a number, LaTeX, or what stands in the organism's last words."""
    kind: str = "math"
    """``math``, ``exact``, ``organism`` or ``reasoning_gym:<name>``."""
    meta: dict[str, Any] = field(default_factory=dict, hash=False)
    """Whatever else the source says: level, subject, worked solution, the generator's own record."""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a problem needs an id that is not empty")
        if self.kind not in KINDS and not self.kind.startswith("reasoning_gym:"):
            raise ValueError(
                f"problem {self.id}: unknown kind {self.kind!r}; known: {', '.join(KINDS)}, reasoning_gym:<name>"
            )


def by_id(problems: Iterable[Problem]) -> dict[str, Problem]:
    """Problems by their ids; ValueError if two share one."""
    out: dict[str, Problem] = {}
    for problem in problems:
        if problem.id in out:
            raise ValueError(f"two problems have the id {problem.id!r}; ids must be distinct")
        out[problem.id] = problem
    return out
