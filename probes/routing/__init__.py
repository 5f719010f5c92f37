"""Is it only *when*? Gates, mixed decoding's arms, and the share of the gain that they recover.

The engine is :func:`hooks.mix.mix`; here are the gates by name, the controls at the matched rate, and recovery with its
interval. What it does not show: why the models part where a gate opens.
"""

from __future__ import annotations

from probes.routing.arms import CONTROLS, Arm, route
from probes.routing.curve import RecoveryCurve, curve
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
from probes.routing.outcome import RouteResult
from probes.routing.recovery import Recovery, recovered, recovery
from probes.routing.spots import where, which

__all__ = [
    "CONTROLS",
    "Arm",
    "Gate",
    "Recovery",
    "RecoveryCurve",
    "RouteResult",
    "Sight",
    "always",
    "budgeted",
    "curve",
    "disagreement",
    "entropy",
    "every_n",
    "first_k",
    "js",
    "kl",
    "margin",
    "never",
    "place_scores",
    "places",
    "probe",
    "random",
    "recovered",
    "recovery",
    "route",
    "threshold_at",
    "where",
    "which",
]
