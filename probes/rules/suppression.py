"""Rule of the claim "suppression rather than amplification".

The bar is the claim's own "more than". Where right texts did not gain on wrong ones there is nothing to share out, and
the share is not identified; nor is it where right texts became less likely as well, as any drift makes them: the share
by text is then above one half by its definition. What it does not show: how RL was done. A base that is mostly right
shows a share above one half whatever the training did, so its accuracy stands beside the figure.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.verdicts import Finding, Verdict, above

MORE = 0.5
"""Above one half, the fall of wrong texts is larger than the rise of right ones."""


def suppression(evidence: Evidence) -> list[Finding]:
    """The share by text and by the mass of each class; it does not show which of the two caused the gain."""
    accuracy = evidence.suppression_accuracy
    beside = "" if accuracy is None or not accuracy.measured else f" (base right on {accuracy.value:.0%})"
    return [
        _if_right_rose(
            _with_reason(above(f"suppression share, texts of the base{beside}", evidence.suppression, MORE)),
            evidence.suppression_right,
        ),
        _with_reason(above("suppression share, probability of each class as a whole", evidence.suppression_mass, MORE)),
    ]


def _if_right_rose(finding: Finding, right: Estimate | None) -> Finding:
    """Where right texts fell too, wrong ones fell more by definition of the share, and it is above one half."""
    if finding.verdict == "not measured" or right is None or not right.high < 0:
        return finding
    why = f"right texts became less likely too ({right:.1f} nats), so the share is above one half whatever RL did"
    return replace(finding, verdict="not identified", rule=f"{finding.rule}; {why}")


def _with_reason(finding: Finding) -> Finding:
    """Why there is no share, behind the rule; a refused one was not measured."""
    one: Estimate | None = finding.estimate
    if one is None or one.measured:
        return finding
    verdict: Verdict = "not measured" if one.method.startswith("refused") else finding.verdict
    return replace(finding, verdict=verdict, rule=f"{finding.rule}; {one.method}")
