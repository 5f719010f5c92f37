"""Rule of the claim "few reference tokens carry the reward".

Few is less than a third, and fewer than noise of one size at every token would need. The second half of the claim, that
training on them is faster, is only touched by whether the weighted score follows being right more closely than the
plain one. A share of a short reference cannot be small: where the bar leaves no room for two tokens it cannot be asked.
What it does not show: a training.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.verdicts import Finding, below, more_than_control

FEW = 0.33
"""Below this share of the reference the tokens are few; no figure is published."""
UNDER_NOISE = 0.05
"""Less than this share below what noise needs is no concentration."""
GAIN = 0.02
"""Less than this rank correlation more is no better score."""


def reflection(evidence: Evidence) -> list[Finding]:
    """Share of the tokens, its distance from noise, and the weighted score; it does not show faster training."""
    return [
        _of_long(below("reference tokens that carry 80 % of the spread", evidence.reflection_share, FEW), evidence),
        more_than_control(
            "fewer tokens than equal noise would need", _minus(evidence.reflection_under_noise), UNDER_NOISE,
            unit="points",
        ),
        more_than_control(
            "rank correlation with being right, weighted over plain score", evidence.reflection_gain, GAIN, unit="auroc"
        ),
    ]  # fmt: skip


def _of_long(finding: Finding, evidence: Evidence) -> Finding:
    """A bar below two tokens of a reference says how long the reference is, not what it depends on."""
    least = evidence.reflection_least
    if finding.verdict == "not measured" or least is None or 2 * least <= FEW:
        return finding
    rule = f"{finding.rule}; asked where two tokens are less than that, and one token is {least:.0%} of a reference"
    return replace(finding, verdict="not identified", rule=rule)


def _minus(value: Estimate | None) -> Estimate | None:
    return None if value is None else replace(value, value=-value.value, low=-value.high, high=-value.low)
