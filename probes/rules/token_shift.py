"""Rule of the claim "sparse but critical token shifts".

What it does not show: that every shifted token matters; a divergence may be a synonym.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.rules.know_when import FEW, RECOVERED
from probes.verdicts import Finding, above, below, of_a_gain

NEAR_ZERO = 0.8
"""At least this share of positions nearly unchanged is sparse; the least published figure is 0.83."""


def token_shift(evidence: Evidence) -> list[Finding]:
    """Positions nearly unchanged, and the gain left when the base is let in; it does not show which token mattered."""
    count = evidence.backward_tokens
    where = "" if count is None else f" at {count:.1f} tokens a text"
    left = below(f"gain left when the base is let in{where}", evidence.backward, RECOVERED)
    share = evidence.backward_routed
    if left.verdict == "supported" and share is not None and share.value > FEW:
        # Where the base writes much of the text, a lost gain says nothing of few tokens.
        why = f"the base wrote {share.value:.0%} of the tokens, more than the {FEW:.0%} that are few"
        left = replace(left, verdict="not identified", rule=f"{left.rule}; {why}")
    return [
        above(f"positions with JS up to {evidence.near:g} nats", evidence.near_zero, NEAR_ZERO),
        of_a_gain(left, evidence.gap),
    ]
