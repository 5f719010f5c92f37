"""Is it only *when*? Gates, mixed decoding's arms, and the share of the gain that they recover.

The engine is :func:`hooks.mix.mix`; here are the gates by name, the controls at the matched rate, and recovery with its
interval. ``graft`` asks the same of the weights, with the same recovery; ``check_published`` holds graders and recovery
against runs that others published. What it does not show: why the models part where a gate opens.
"""

from __future__ import annotations

from probes.routing.arms import CONTROLS, Arm, route
from probes.routing.critical import critical_places
from probes.routing.curve import RecoveryCurve, curve
from probes.routing.fitted import PartingProbe, parting_probe
from probes.routing.gates import (
    Gate,
    Sight,
    always,
    budgeted,
    disagreement,
    entropy,
    every_n,
    first_k,
    js,
    kl,
    margin,
    never,
    place_scores,
    places,
    probe,
    random,
    threshold_at,
)
from probes.routing.grafting import GraftResult, graft
from probes.routing.learned import LearnedRouter, learn_router, learned
from probes.routing.matched import Control
from probes.routing.outcome import RouteResult
from probes.routing.published import check_published
from probes.routing.recovery import Recovery, recovered, recovery
from probes.routing.specs import Workshop, parse_gates
from probes.routing.spots import where, which
from probes.routing.steered import shift, strategy_arms
from probes.routing.vector_training import strategy_vectors
from probes.routing.vectors import StrategyVectors
from probes.routing.written import cues

__all__ = [
    "CONTROLS",
    "Arm",
    "Control",
    "Gate",
    "GraftResult",
    "LearnedRouter",
    "PartingProbe",
    "Recovery",
    "RecoveryCurve",
    "RouteResult",
    "Sight",
    "StrategyVectors",
    "Workshop",
    "always",
    "budgeted",
    "check_published",
    "critical_places",
    "cues",
    "curve",
    "disagreement",
    "entropy",
    "every_n",
    "first_k",
    "graft",
    "js",
    "kl",
    "learn_router",
    "learned",
    "margin",
    "never",
    "parse_gates",
    "parting_probe",
    "place_scores",
    "places",
    "probe",
    "random",
    "recovered",
    "recovery",
    "route",
    "shift",
    "strategy_arms",
    "strategy_vectors",
    "threshold_at",
    "where",
    "which",
]
