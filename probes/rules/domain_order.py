"""Rule of the claim "domains in order of how easily they are forgotten beat joint training".

What it does not show: the spread between two runs of one order; published gains of about 6 % are relative.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.verdicts import Finding, above, more_than_control

MATTERS = 0.01
"""Less than this mean accuracy more is no advantage."""
FORESEEN = 0.5
"""A rank correlation above this counts as foreseen; reviewers called the published ones low."""


def domain_order(evidence: Evidence) -> list[Finding]:
    """The recommended order against joint training and other orders, and whether ends were foreseen.

    It does not show which property of a domain makes it go first.
    """
    return [
        more_than_control("recommended order minus joint training", evidence.order_over_joint, MATTERS, unit="points"),
        more_than_control("recommended order minus other orders", evidence.order_over_others, MATTERS, unit="points"),
        above("rank correlation of predicted with actual ends", evidence.order_foreseen, FORESEEN, unit="number"),
    ]
