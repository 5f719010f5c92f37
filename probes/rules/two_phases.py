"""Rule of the claim "first execution becomes reliable, then planning spreads".

What it does not show: that phrases plan, nor that a second phase caused the gain.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.verdicts import Finding, above, below, more_than_control

NO_SLOPE = 0.0
"""Slopes are held against zero: the claim names directions, not sizes."""


def two_phases(evidence: Evidence) -> list[Finding]:
    """Execution entropy falls up to a bend; phrase entropy rises from there, and more than a placebo's.

    A run without a bend has no phases to order, which is not identified rather than contradicted.

    It does not show that planning caused a gain.
    """
    return [
        below("execution entropy up to its bend, nats a step", evidence.phase_fall, NO_SLOPE, unit="nats"),
        above("entropy of strategic phrases after it, nats a step", evidence.phase_rise, NO_SLOPE, unit="nats"),
        more_than_control("that slope minus placebo phrases'", evidence.phase_over_placebo, NO_SLOPE, unit="nats"),
    ]
