"""From a number and its interval to a verdict: the rules, written down before looking.

A finding compares one number and its interval with a bar:

* *above* a bar: supported if the whole interval lies above it, contradicted if the whole interval lies below it, not
  identified if the interval holds the bar. *Below* is the mirror image. An exact count has no interval; it is itself.
* *more than its control*: supported if the interval of the difference lies above zero; contradicted if it lies below
  the least difference that would matter; not identified otherwise.
* *not behind*: supported if the other side's lead lies below a margin, contradicted if it lies above it.

A number that does not exist (a share of a gain that is not there) is not identified. Findings form a claim together:

* not measured, if no finding is measured;
* mixed, if one finding is supported and another contradicted;
* contradicted, if one is contradicted and none supported;
* not identified, if one is not identified and none contradicted;
* supported, if all that were measured are supported.

What a verdict does not show: more than one pair. Several findings are judged, each at its own level; nothing is
corrected for their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from probes.stats import Estimate

Verdict = Literal["supported", "contradicted", "mixed", "not identified", "not measured"]

EXACT = "one run, exact count"
"""Method of a number that was counted, not sampled."""


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


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a conjunction of findings, by the rule at the head of this file."""
    measured = [verdict for verdict in verdicts if verdict != "not measured"]
    if not measured:
        return "not measured"
    if "contradicted" in measured:
        return "mixed" if "supported" in measured else "contradicted"
    return "not identified" if "not identified" in measured else "supported"


def numbers(estimate: Estimate | None) -> dict[str, float | None]:
    """Value and ends as JSON has them: None for what is not finite, and for the interval of an exact count."""
    if estimate is None:
        return {"value": None, "low": None, "high": None}
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (end if math.isfinite(end) else None for end in ends)
    exact = estimate.method == EXACT
    return {"value": value, "low": None if exact else low, "high": None if exact else high}


def exact(value: float | None) -> Estimate | None:
    """A count over two fixed files: no interval, and no sampling either."""
    return None if value is None or math.isnan(value) else Estimate(value, value, value, 1, EXACT)


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
    if estimate.low > support or (estimate.method == EXACT and estimate.value >= support):
        return "supported"
    return "contradicted" if estimate.high < contradict else "not identified"


def of_a_gain(finding: Finding, gap: Estimate | None) -> Finding:
    """A finding about a gain says nothing where there is none."""
    if finding.verdict == "not measured" or gap is None or gap.low > 0:
        return finding
    rule = f"{finding.rule}; the interval of the gain covers zero, so there is no gain to explain"
    return Finding(finding.name, finding.estimate, "not identified", rule, finding.unit)
