"""Problems and verifiers: what is asked, and whether a text answers it."""

from __future__ import annotations

from probes.tasks.extraction import Extraction, extract
from probes.tasks.grading import Agreement, agreement, grade
from probes.tasks.loading import PROMPTS, load
from probes.tasks.problems import Problem
from probes.tasks.verify import Verdict, plain_equal, verify

__all__ = [
    "PROMPTS",
    "Agreement",
    "Extraction",
    "Problem",
    "Verdict",
    "agreement",
    "extract",
    "grade",
    "load",
    "plain_equal",
    "verify",
]
