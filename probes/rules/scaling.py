"""Rule of the claim "RL progress follows a sigmoid in compute, so a short run predicts a long one".

What it does not show: that the recipe sets the ceiling; one run has one recipe.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.verdicts import Finding, above, below, more_than_control

MARGIN = 0.02
"""Error at twice the compute that still counts as foreseen: the published margin of noise."""
WORSE = 0.0
"""Below this lead the power law is the better form."""


def scaling(evidence: Evidence) -> list[Finding]:
    """A ceiling below one, the end foreseen from half of the compute, and a lead over the rival form.

    It does not show what more compute than was spent would bring.
    """
    top = evidence.scaling_top
    risen = above("asymptote of the sigmoid", top, 0.0)
    known = below("asymptote of the sigmoid", top, 1.0)
    rule = "supported if the profile interval ends below 1 and the curve rises, else not identified"
    held = known.verdict if risen.verdict == "supported" else risen.verdict
    return [
        Finding(known.name, top, "not identified" if held == "contradicted" else held, rule),
        below("error at twice the compute", evidence.scaling_error, MARGIN, unit="points"),
        more_than_control("held-out error of a power law minus the sigmoid's", evidence.scaling_lead, WORSE,
                          unit="points"),
    ]  # fmt: skip
