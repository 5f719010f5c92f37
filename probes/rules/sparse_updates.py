"""Rule of the claim "sparse, full-rank updates".

Bars from the claim as it is told and the published 68 to 96 % unchanged. What it does not show: that the share is a
property of RL rather than of bfloat16 storage and the step size.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.verdicts import Finding, above, exact

SPARSE = 0.7
"""At least this share unchanged: the "5 to 30 % of the parameters" of the claim."""
FULL = 0.95
"""At least this share of full rank is nearly full."""


def sparse_updates(evidence: Evidence) -> list[Finding]:
    """Unchanged shares by both tests and numerical rank, each exact; it does not show why they are so."""
    null = evidence.rank_share_null
    beside = "" if null is None else f" (entries shuffled: {null:.3f})"
    return [
        above("unchanged within 1e-5", exact(evidence.unchanged_tolerance), SPARSE),
        above("unchanged by the relative test", exact(evidence.unchanged_relative), SPARSE),
        above(f"numerical rank over full rank{beside}", exact(evidence.rank_share), FULL),
    ]
