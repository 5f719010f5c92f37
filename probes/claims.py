"""The twelve claims: what is commonly said about RL post-training, held against one pair by rules written beforehand.

Each claim is a conjunction of findings, each a number against a bar; :mod:`probes.verdicts` holds the rules by which
a finding, and then the claim, is supported, contradicted, mixed, not identified or not measured. A finding about a gain
is not identified where the interval of the gain covers zero.

The bars are the constants below, taken from the claims as they are told and from the published figures (see
``published.json``: arXiv id and how each figure was read). What a verdict does not show: the truth of a general claim.
One pair can contradict it; no pair can prove it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.verdicts import (
    Finding,
    Verdict,
    above,
    below,
    combine,
    exact,
    more_than_control,
    not_behind,
    numbers,
    of_a_gain,
)

__all__ = ["Claim", "Evidence", "Finding", "Published", "judge", "published", "table"]

RECOVERED = 0.5
"""A gate "recovers the gain" if it recovers more than half of it."""
FEW = 0.15
"""Up to this share of tokens counts as few; published shares run from 1.5 to 12 %."""
RECOVERY_MATTERS = 0.1
"""Less than this share of the gain more than random places is no advantage."""
AUROC_MATTERS = 0.02
"""Less than this AUROC more than the best baseline is no readability."""
ACCURACY_MATTERS = 0.02
"""Less than this accuracy more than random vectors is no effect of a direction."""
BEHIND = 0.02
"""The base counts as level with RL at the largest k if it is at most this far behind."""
SPARSE = 0.7
"""At least this share unchanged: the "5 to 30 % of the parameters" of the claim."""
FULL = 0.95
"""At least this share of full rank is nearly full."""
NEAR_ZERO = 0.8
"""At least this share of positions nearly unchanged is sparse; the least published figure is 0.83."""


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
    """All twelve claims with their verdicts, in a fixed order, by the rules at the head of this file.

    A claim without evidence is "not measured" and says what it needs. It does not show the truth of a general claim.
    """
    rows = published()
    claims = []
    for told in _told():
        findings = _FINDINGS.get(told.key, _nothing)(evidence)
        missing = [finding.name for finding in findings if finding.verdict == "not measured"]
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


def _sparse_updates(evidence: Evidence) -> list[Finding]:
    null = evidence.rank_share_null
    beside = "" if null is None else f" (entries shuffled: {null:.3f})"
    return [
        above("unchanged within 1e-5", exact(evidence.unchanged_tolerance), SPARSE),
        above("unchanged by the relative test", exact(evidence.unchanged_relative), SPARSE),
        above(f"numerical rank over full rank{beside}", exact(evidence.rank_share), FULL),
    ]


def _know_when(evidence: Evidence) -> list[Finding]:
    gap = evidence.gap
    return [
        of_a_gain(above(f"gain recovered{_at(evidence.routed)}", evidence.recovery, RECOVERED), gap),
        of_a_gain(below("tokens needed for 90 % of the gain", evidence.needed_90, FEW), gap),
        of_a_gain(
            more_than_control("recovered more than at random places", evidence.recovery_over_random, RECOVERY_MATTERS),
            gap,
        ),
        more_than_control(
            f"next strategy read from base activations{_auroc(evidence.readability)}, over the best baseline",
            evidence.readability_over_baseline, AUROC_MATTERS, unit="auroc",
        ),
        of_a_gain(
            more_than_control(
                f"accuracy from base-only directions{_share(evidence.steering)}, over random vectors",
                evidence.steering_over_random, ACCURACY_MATTERS, unit="points",
            ), gap,
        ),
    ]  # fmt: skip


def _pass_at_k(evidence: Evidence) -> list[Finding]:
    k = "the largest k" if evidence.largest_k is None else f"k = {evidence.largest_k}"
    return [of_a_gain(not_behind(f"RL minus base at {k}", evidence.passk_last, BEHIND), evidence.passk_first)]


def _token_shift(evidence: Evidence) -> list[Finding]:
    count = evidence.backward_tokens
    where = "" if count is None else f" at {count:.1f} tokens a text"
    left = below(f"gain left when the base is let in{where}", evidence.backward, RECOVERED)
    return [
        above(f"positions with JS up to {evidence.near:g} nats", evidence.near_zero, NEAR_ZERO),
        of_a_gain(left, evidence.gap),
    ]


def _nothing(evidence: Evidence) -> list[Finding]:
    return []


def _at(routed: Estimate | None) -> str:
    return "" if routed is None or not routed.measured else f" with {routed.value:.1%} of tokens routed"


def _auroc(value: Estimate | None) -> str:
    return "" if value is None or not value.measured else f" (AUROC {value:.3f})"


def _share(value: Estimate | None) -> str:
    return "" if value is None or not value.measured else f" ({value:.0%} of the gain)"


_FINDINGS: Mapping[str, Any] = {
    "sparse_updates": _sparse_updates,
    "know_when": _know_when,
    "pass_at_k": _pass_at_k,
    "token_shift": _token_shift,
}
