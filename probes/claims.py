"""The twelve claims: what is commonly said about RL post-training, held against one pair by rules written beforehand.

Each claim is a conjunction of findings, each a number against a bar; :mod:`probes.verdicts` holds the rules by which
a finding, and then the claim, is supported, contradicted, mixed, not identified or not measured. A finding about a gain
is not identified where the interval of the gain covers zero.

The bars stand in :mod:`probes.rules`, one file a claim (see ``published.json`` for the published figures: arXiv id and
how each was read). What a verdict does not show: the truth of a general claim.
One pair can contradict it; no pair can prove it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from probes.evidence import Evidence
from probes.rules import RULES
from probes.stats import Estimate
from probes.verdicts import Finding, Verdict, combine, numbers

__all__ = ["Claim", "Evidence", "Finding", "Published", "judge", "published", "table"]


@dataclass(frozen=True)
class Published:
    """One published figure."""

    paper: str
    """Short name of the paper."""
    arxiv: str
    """Its arXiv id."""
    metric: str
    """What was measured."""
    setting: str
    """On which models and data."""
    value: float
    """The figure; percentages as shares."""
    unit: str
    """``share``, ``score``, ``tokens``, ..."""
    note: str
    """What to know about it."""
    status: str
    """``G`` read in the source, ``G(note)`` in a third-party summary, ``M`` recalled."""
    beside: bool
    """Whether it was measured as here, so that it can stand next to a pair's own figure."""


@dataclass(frozen=True)
class Claim:
    """One claim, this pair's findings, and the verdict."""

    key: str
    title: str
    sentence: str
    """The claim as it is commonly told."""
    measure: str
    """The measurable form."""
    verdict: Verdict
    findings: tuple[Finding, ...]
    """All parts, measured or not; the first is the claim's figure."""
    published: tuple[Published, ...]
    needs: str
    """What is missing for a full verdict; empty if nothing is."""
    caveats: tuple[str, ...]

    @property
    def figure(self) -> Estimate | None:
        """The first number that was measured; None if none was."""
        return next((finding.estimate for finding in self.findings if finding.estimate is not None), None)

    def as_dict(self, *, every_row: bool = False) -> dict[str, Any]:
        """The claim as JSON values; published rows that are not comparable come only with ``every_row``.

        A number that is not finite (not defined, or never reached) is None; the findings' rules say which.
        """
        shown = next((finding for finding in self.findings if finding.estimate is not None), None)
        main = numbers(shown.estimate if shown is not None else None)
        return {
            "claim": self.title,
            "key": self.key,
            "statement": self.sentence,
            "measure": self.measure,
            "verdict": self.verdict,
            "figure": main["value"],
            "low": main["low"],
            "high": main["high"],
            "interval": [main["low"], main["high"]] if main["low"] is not None else None,
            "unit": shown.unit if shown is not None else "share",
            "findings": [
                {
                    "name": part.name, "verdict": part.verdict, "rule": part.rule, "unit": part.unit,
                    **numbers(part.estimate),
                }
                for part in self.findings
            ],
            "rule": "; ".join(f"{part.name}: {part.rule}" for part in self.findings),
            "published": [
                {
                    "paper": row.paper, "arxiv": row.arxiv, "metric": f"{row.metric}, {row.setting}",
                    "value": row.value, "unit": row.unit, "note": row.note, "status": row.status,
                }
                for row in self.published
                if every_row or row.beside
            ],
            "needs": self.needs,
            "caveats": list(self.caveats),
        }  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """What stands in ``claims.json`` about one claim."""

    key: str
    title: str
    sentence: str
    measure: str
    needs: str
    caveats: list[str] = field(default_factory=list)


def judge(evidence: Evidence) -> list[Claim]:
    """All twelve claims with their verdicts, in a fixed order, by the rules of :mod:`probes.rules`.

    A claim without evidence is "not measured" and says what it needs. It does not show the truth of a general claim.
    """
    rows = published()
    claims = []
    for told in _told():
        findings = RULES[told.key](evidence) if told.key in RULES else []
        # A number that was refused brings its own reason, in its rule.
        missing = [one.name for one in findings if one.verdict == "not measured" and one.estimate is None]
        needs = f"needs {told.needs}" if missing or not findings else ""
        if missing and len(missing) < len(findings):
            needs = f"not measured: {', '.join(missing)} ({needs})"
        claims.append(
            Claim(
                told.key, told.title, told.sentence, told.measure, combine([part.verdict for part in findings]),
                tuple(findings), tuple(row for key, row in rows if key == told.key), needs, tuple(told.caveats),
            )
        )  # fmt: skip
    return claims


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row a finding: claim, verdict of the claim, finding, value, interval, verdict and rule of the finding."""
    rows = []
    for claim in claims:
        for part in claim.findings or (Finding("", None, "not measured", ""),):
            rows.append(
                {
                    "claim": claim.key, "verdict": claim.verdict, "finding": part.name, **numbers(part.estimate),
                    "finding_verdict": part.verdict, "rule": part.rule, "needs": claim.needs,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


@cache
def published() -> tuple[tuple[str, Published], ...]:
    """All published figures that ship with the package, each with the key of its claim."""
    data = json.loads(resources.files("probes").joinpath("published.json").read_text(encoding="utf-8"))
    return tuple(
        (row["claim"], Published(paper=data["papers"][row["arxiv"]], **{k: row[k] for k in row if k != "claim"}))
        for row in data["rows"]
    )


@cache
def _told() -> tuple[_Told, ...]:
    data = json.loads(resources.files("probes").joinpath("claims.json").read_text(encoding="utf-8"))
    return tuple(_Told(**row) for row in data)
