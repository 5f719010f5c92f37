"""Rule of the claim "the base knows how, RL teaches when".

A conjunction: few routed tokens recover the gain, random places do not, the next strategy is readable beforehand, and a
direction from the base alone helps. What it does not show: that the model uses what a probe reads.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.verdicts import Finding, above, below, more_than_control, of_a_gain

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


def know_when(evidence: Evidence) -> list[Finding]:
    """Recovery, tokens needed, the lead over random places, readability and steering; it does not show a mechanism."""
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


def _at(routed: Estimate | None) -> str:
    return "" if routed is None or not routed.measured else f" with {routed.value:.1%} of tokens routed"


def _auroc(value: Estimate | None) -> str:
    return "" if value is None or not value.measured else f" (AUROC {value:.3f})"


def _share(value: Estimate | None) -> str:
    return "" if value is None or not value.measured else f" ({value:.0%} of the gain)"
