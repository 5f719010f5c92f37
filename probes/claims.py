"""The twelve claims: what is commonly said about RL post-training, held against one pair by rules written beforehand.

Each claim is a conjunction of findings. A finding compares one number and its 95 % interval with a bar:

* *above* a bar: supported if the whole interval lies above it, contradicted if the whole interval lies below it, not
  identified if the interval holds the bar. *Below* is the mirror image. An exact count has no interval; it is itself.
* *more than its control*: supported if the interval of the difference lies above zero; contradicted if it lies below
  the least difference that would matter; not identified otherwise.
* *not behind*: supported if the interval of the difference lies above minus a margin, contradicted if it lies below it.

A finding about a gain is not identified where the interval of the gain covers zero. The claim's verdict is then

* not measured, if no finding is measured;
* mixed, if one finding is supported and another contradicted;
* contradicted, if one is contradicted and none supported;
* not identified, if one is not identified and none contradicted;
* supported, if all that were measured are supported.

The bars are the constants below, taken from the claims as they are told and from the published figures (see
``published.json``: arXiv id and how each figure was read). What a verdict does not show: the truth of a general claim.
One pair can contradict it; no pair can prove it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

import pandas as pd

from probes.evidence import Evidence
from probes.stats import Estimate

__all__ = ["Claim", "Evidence", "Finding", "Published", "judge", "published", "table"]

Verdict = Literal["supported", "contradicted", "mixed", "not identified", "not measured"]

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
class Finding:
    """One number against its bar."""

    name: str
    """What was measured."""
    estimate: Estimate | None
    """The number; None if it was not measured."""
    verdict: Verdict
    """Supported, contradicted, not identified or not measured."""
    rule: str
    """The rule in words, with its bar."""
    unit: str = "share"
    """``share``, ``auroc`` or ``points``."""


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
        main = _numbers(shown.estimate if shown is not None else None)
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
                {"name": part.name, "verdict": part.verdict, "rule": part.rule, "unit": part.unit, **_numbers(part.estimate)}
                for part in self.findings
            ],
            "rule": "; ".join(f"{part.name}: {part.rule}" for part in self.findings),
            "published": [
                {
                    "paper": row.paper, "arxiv": row.arxiv, "metric": f"{row.metric}, {row.setting}", "value": row.value,
                    "unit": row.unit, "note": row.note, "status": row.status,
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


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a conjunction of findings, by the rule at the head of this file."""
    measured = [verdict for verdict in verdicts if verdict != "not measured"]
    if not measured:
        return "not measured"
    if "contradicted" in measured:
        return "mixed" if "supported" in measured else "contradicted"
    return "not identified" if "not identified" in measured else "supported"


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row a finding: claim, verdict of the claim, finding, value, interval, verdict and rule of the finding."""
    rows = []
    for claim in claims:
        for part in claim.findings or (Finding("", None, "not measured", ""),):
            rows.append(
                {
                    "claim": claim.key, "verdict": claim.verdict, "finding": part.name, **_numbers(part.estimate),
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


def _numbers(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {"value": None, "low": None, "high": None}
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (end if math.isfinite(end) else None for end in ends)
    exact = estimate.method == _EXACT
    return {"value": value, "low": None if exact else low, "high": None if exact else high}


_EXACT = "one run, exact count"


def exact(value: float | None) -> Estimate | None:
    """A count over two fixed files: no interval, and no sampling either."""
    return None if value is None or math.isnan(value) else Estimate(value, value, value, 1, _EXACT)


def above(name: str, estimate: Estimate | None, bar: float, *, unit: str = "share") -> Finding:
    """The number is above its bar; not identified where it does not exist or its interval holds the bar."""
    return Finding(name, estimate, _side(estimate, bar, bar), f"supported above {bar:g}, contradicted below", unit)


def below(name: str, estimate: Estimate | None, bar: float, *, unit: str = "share") -> Finding:
    """The number is below its bar: the mirror image of :func:`above`."""
    mirrored: dict[Verdict, Verdict] = {"supported": "contradicted", "contradicted": "supported"}
    side = _side(estimate, bar, bar)
    return Finding(name, estimate, mirrored.get(side, side), f"supported below {bar:g}, contradicted above", unit)


def more_than_control(name: str, difference: Estimate | None, least: float, *, unit: str = "share") -> Finding:
    """The difference from a control is above zero; contradicted where even its upper end is below ``least``."""
    rule = f"supported if the interval is above 0, contradicted if it stays below {least:g}"
    return Finding(name, difference, _side(difference, 0.0, least), rule, unit)


def not_behind(name: str, lead: Estimate | None, margin: float, *, unit: str = "points") -> Finding:
    """The other side's lead is below a margin: a test of non-inferiority."""
    found = below(name, lead, margin, unit=unit)
    rule = f"supported if RL leads by less than {margin:g}, contradicted if by more"
    return Finding(name, lead, found.verdict, rule, unit)


def _side(estimate: Estimate | None, support: float, contradict: float) -> Verdict:
    """Where the interval lies: above ``support``, below ``contradict``, or neither."""
    if estimate is None:
        return "not measured"
    if math.isnan(estimate.value) or math.isnan(estimate.low) or math.isnan(estimate.high):
        return "not identified"
    if estimate.low > support or (estimate.method == _EXACT and estimate.value >= support):
        return "supported"
    return "contradicted" if estimate.high < contradict else "not identified"


def _of_a_gain(finding: Finding, gap: Estimate | None) -> Finding:
    """A finding about a gain says nothing where there is none."""
    if finding.verdict == "not measured" or gap is None or gap.low > 0:
        return finding
    rule = f"{finding.rule}; the interval of the gain covers zero, so there is no gain to explain"
    return Finding(finding.name, finding.estimate, "not identified", rule, finding.unit)


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
        _of_a_gain(above(f"gain recovered{_at(evidence.routed)}", evidence.recovery, RECOVERED), gap),
        _of_a_gain(below("tokens needed for 90 % of the gain", evidence.needed_90, FEW), gap),
        _of_a_gain(
            more_than_control("recovered more than at random places", evidence.recovery_over_random, RECOVERY_MATTERS), gap
        ),
        more_than_control(
            f"next strategy read from base activations{_auroc(evidence.readability)}, over the best baseline",
            evidence.readability_over_baseline, AUROC_MATTERS, unit="auroc",
        ),
        _of_a_gain(
            more_than_control(
                f"accuracy from base-only directions{_share(evidence.steering)}, over random vectors",
                evidence.steering_over_random, ACCURACY_MATTERS, unit="points",
            ), gap,
        ),
    ]  # fmt: skip


def _pass_at_k(evidence: Evidence) -> list[Finding]:
    k = "the largest k" if evidence.largest_k is None else f"k = {evidence.largest_k}"
    return [_of_a_gain(not_behind(f"RL minus base at {k}", evidence.passk_last, BEHIND), evidence.passk_first)]


def _token_shift(evidence: Evidence) -> list[Finding]:
    left = below(f"gain left when the base is let in{_at(evidence.backward_routed)}", evidence.backward, RECOVERED)
    return [
        above(f"positions with JS up to {evidence.near:g} nats", evidence.near_zero, NEAR_ZERO),
        _of_a_gain(left, evidence.gap),
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
