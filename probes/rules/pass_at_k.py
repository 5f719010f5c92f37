"""Rule of the claim "RL narrows, the base covers more".

What it does not show: what more samples than were drawn would have solved.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.verdicts import Finding, not_behind, of_a_gain

BEHIND = 0.02
"""The base counts as level with RL at the largest k if it is at most this far behind."""


def pass_at_k(evidence: Evidence) -> list[Finding]:
    """RL minus base at the largest k, where RL is ahead at k = 1; it does not show larger k."""
    k = "the largest k" if evidence.largest_k is None else f"k = {evidence.largest_k}"
    return [of_a_gain(not_behind(f"RL minus base at {k}", evidence.passk_last, BEHIND), evidence.passk_first)]
