"""Rule of the claim "suppression rather than amplification".

The bar is the claim's own "more than". Where right texts did not gain on wrong ones there is nothing to share out, and
the share is not identified. What it does not show: how RL was done. A base that is mostly right shows a share above one
half whatever the training did, so its accuracy stands beside the figure.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.verdicts import Finding, above

MORE = 0.5
"""Above one half, the fall of wrong texts is larger than the rise of right ones."""


def suppression(evidence: Evidence) -> list[Finding]:
    """The share by text and by the mass of each class; it does not show which of the two caused the gain."""
    accuracy = evidence.suppression_accuracy
    beside = "" if accuracy is None or not accuracy.measured else f" (base right on {accuracy.value:.0%})"
    return [
        _with_reason(above(f"suppression share, texts of the base{beside}", evidence.suppression, MORE)),
        _with_reason(above("suppression share, probability of each class as a whole", evidence.suppression_mass, MORE)),
    ]


def _with_reason(finding: Finding) -> Finding:
    """Why there is no share, behind the rule."""
    one: Estimate | None = finding.estimate
    return finding if one is None or one.measured else replace(finding, rule=f"{finding.rule}; {one.method}")
