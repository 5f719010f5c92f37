"""Rule of the claim "echo chamber".

The bar of 0.9 is ours. A format that dominates from the start was not brought out by RL, so the rise since the base
counts as well, and neither is identified where the base is past the bar. Fewer than three checkpoints say nothing about
a collapse along the run, and are not measured. What it does not show: why a format won.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.verdicts import Finding, above, more_than_control

DOMINANT = 0.9
"""From this share on one format dominates."""
RISE_MATTERS = 0.05
"""A smaller rise since the base is none."""


def echo_chamber(evidence: Evidence) -> list[Finding]:
    """Share of the largest format at the last checkpoint and its rise since the base; it does not show a cause."""
    found = [
        above("share of the largest format at the last checkpoint", evidence.format_share, DOMINANT),
        more_than_control("its rise since the base", evidence.format_rise, RISE_MATTERS, unit="points"),
    ]
    share, rise = evidence.format_share, evidence.format_rise
    if share is None or rise is None or not share.value - rise.value >= DOMINANT:
        return found
    why = f"the base writes it in {share.value - rise.value:.1%}, so there is nothing left to collapse"
    return [replace(one, verdict="not identified", rule=f"{one.rule}; {why}") for one in found]
