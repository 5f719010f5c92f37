"""Rule of the claim "sparse, full-rank updates".

Bars from the claim as it is told and the published 68 to 96 % unchanged. The numerical rank is no test of "full rank":
it is full for any noise, for a random sparse mask, and for an update of rank one that was rounded to bfloat16. What is
asked instead is whether the stable rank of an update is near that of its own entries at random places; where it cannot
be told from theirs, the update is as full as noise, which identifies nothing. Where the update is a LoRA adapter, its
rank is the adapter's and so identifies nothing either, and the share unchanged counts the tensors that it leaves out.
What it does not show: that the share is a property of RL rather than of bfloat16 storage and the step size.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.verdicts import Finding, above, exact

SPARSE = 0.7
"""At least this share unchanged: the "5 to 30 % of the parameters" of the claim."""
NEARLY = 0.5
"""Above this part of its null's stable rank an update is nearly as full as it could be; the bar is ours."""
NOISE = 1.0
"""The ratio of noise: an interval that holds it is that of any random change."""


def sparse_updates(evidence: Evidence) -> list[Finding]:
    """Unchanged shares by both tests, each exact, and stable rank over its null; it does not show why they are so."""
    rank = evidence.adapter_rank
    return [
        _share("unchanged within 1e-5", evidence.unchanged_tolerance, rank),
        _share("unchanged by the relative test", evidence.unchanged_relative, rank),
        _full(evidence),
    ]


def _share(name: str, value: float | None, rank: int | None) -> Finding:
    """A share against its bar; with an adapter the rule says what the adapter does to it."""
    found = above(name, exact(value), SPARSE)
    if rank is None:
        return found
    return replace(found, rule=f"{found.rule}; a LoRA adapter of rank {rank}: tensors outside it cannot change")


def _full(evidence: Evidence) -> Finding:
    """Whether the update spreads nearly as widely as its entries could, and is yet no noise."""
    spread = evidence.rank_spread
    name = f"stable rank of the update over that of its entries shuffled{_beside(evidence)}"
    found = above(name, spread, NEARLY, unit="number")
    rule = (
        f"supported above {NEARLY:g}, contradicted below; not identified where the interval holds {NOISE:g}, as it "
        "does for any noise"
    )
    if (rank := evidence.adapter_rank) is not None and found.verdict != "not measured":
        why = f"not identified: the update is a LoRA adapter of rank {rank}, which sets its rank"
        return replace(found, verdict="not identified", rule=why)
    like_noise = spread is not None and spread.low <= NOISE <= spread.high
    verdict = "not identified" if like_noise and found.verdict == "supported" else found.verdict
    return replace(found, verdict=verdict, rule=rule)


def _beside(evidence: Evidence) -> str:
    """The numerical rank, which says little, and the entropy rank."""
    share, null, entropy = evidence.rank_share, evidence.rank_share_null, evidence.entropy_spread
    told = [] if share is None else [f"numerical rank {share:.1%}" + ("" if null is None else f", shuffled {null:.1%}")]
    told += [] if entropy is None or not entropy.measured else [f"entropy rank {entropy.value:.2f} of shuffled"]
    return f" ({'; '.join(told)})" if told else ""
