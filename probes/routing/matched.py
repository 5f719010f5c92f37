"""The controls of a gate, each matched to what the gate really did in its own run.

* ``random``: as many places, anywhere;
* ``random_changed``: random places until as large a share of tokens is *changed* as the gate changed. Most random
  places change nothing, since the models agree there, so the gate's own rate gives luck fewer new tokens than the gate
  had; this control gives it as many. The rate is found by running it: the share changed grows with the rate (the same
  random numbers decide, so the places of a smaller rate are among those of a larger), and a secant in a bracket needs
  a few runs. Where even all places change less than the gate did, all are opened;
* ``first_k``: the same number of places a text, all at its beginning (rounded up, in the control's favour);
* ``entropy``: as many places, where the writing model is least certain, its threshold being the quantile of the
  entropies over the gate's own mixed text;
* ``backward``: the same gate while the RL model writes and the base is let in: are these places *necessary*?
* ``resample``: the same gate, but the base writes again itself, with other random numbers (temperature above 0 only);
* ``rank``: the same gate, but the other model may only choose among the base's own most probable tokens;
* ``steered``: the same gate, but the base writes under a steering. Behind a gate that looks at the base alone, no RL
  model takes part at all.

Protocol after arXiv 2603.22446 and the controls of arXiv 2510.07364's second version. What it does not show: that
places drawn at random are all that a gate has to beat; a gate's places stand where choices are made, and so do those of
high entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from hooks.gate import Gate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.steer import Steering
from probes.routing.gates import always, budgeted, entropy, first_k, random
from probes.routing.runs import Arm, changed_share, opened_share

Control = Literal["random", "random_changed", "first_k", "entropy", "backward", "resample", "rank", "steered"]
CONTROLS: tuple[Control, ...] = ("random", "random_changed", "first_k", "entropy", "backward")
"""The controls that ``controls=True`` runs."""
KNOWN: tuple[Control, ...] = (*CONTROLS, "resample", "rank", "steered")
"""All controls by name."""
CLOSE = 0.1
"""The share of changed tokens is matched when it is off by less than this part of itself."""
TRIES = 6
"""Runs spent on matching the share of changed tokens, at most."""


def control_arm(
    control: Control, pair: Pair, name: str, gate: Gate, mixed: Rollouts, *, seed: int, steering: Steering | None = None
) -> Arm:
    """The control of one kind matched to a gate's own run ``mixed``.

    Raises:
        ValueError: for ``random_changed``, which has to be run to be found (:func:`match_changed`).
    """
    label = f"{control} at the rate of {name}"
    share = opened_share(mixed)
    if control == "backward":
        return Arm(f"backward {name}", gate, primary="rl", kind=control, matched=name)
    if control == "resample":
        return Arm(f"resample at {name}", gate, write="resample", kind=control, matched=name)
    if control == "rank":
        return Arm(f"rank at {name}", gate, write="rank_among_top_k", kind=control, matched=name)
    if control == "steered":
        return Arm(f"steered at {name}", gate, write="steered", kind=control, matched=name, steering=steering)
    if control == "random":
        return Arm(label, random(share), kind=control, matched=name)
    if control == "first_k":
        opened = sum(sum(row) for row in mixed.frame["gate_open"])
        return Arm(label, first_k(math.ceil(opened / max(1, len(mixed)))), kind=control, matched=name)
    if control == "entropy":
        limited = budgeted(entropy(), share, pair=pair, text=mixed, seed=seed)
        return Arm(label, replace(limited, name="entropy"), kind=control, matched=name)
    raise ValueError(f"the control {control!r} is found by running it; use match_changed")


def match_changed(name: str, mixed: Rollouts, run: Callable[[Arm], Rollouts]) -> tuple[Arm, Rollouts]:
    """Random places that change as large a share of tokens as the gate's own run ``mixed`` did.

    Args:
        name: of the gate's arm.
        mixed: its texts.
        run: writes and grades an arm.

    Returns:
        the arm whose share came nearest, and its texts.

    It does not show a match to the last token; the table gives both shares.
    """
    target = changed_share(mixed)
    label = f"random with the changes of {name}"

    def arm(rate: float) -> Arm:
        gate = replace(always(), name="random 1") if rate >= 1 else random(rate)
        return Arm(label, gate, kind="random_changed", matched=name)

    if target == 0:
        return arm(0.0), run(arm(0.0))
    tried: list[tuple[float, float, Arm, Rollouts]] = []
    low, high = (0.0, 0.0), (1.0, math.nan)
    rate = min(1.0, max(opened_share(mixed), 2 * target))
    for _ in range(TRIES):
        found = arm(rate)
        texts = run(found)
        share = changed_share(texts)
        tried.append((abs(share - target), rate, found, texts))
        if abs(share - target) <= CLOSE * target or (rate >= 1 and share < target):
            break
        if share < target:
            low = (rate, share)
        else:
            high = (rate, share)
        rate = _next(low, high, target)
    _, _, best, written = min(tried, key=lambda one: one[:2])
    return best, written


def _next(low: tuple[float, float], high: tuple[float, float], target: float) -> float:
    """Where the line through both ends meets the target; with one end known, in proportion, but not too far."""
    if math.isnan(high[1]):
        return min(1.0, low[0] * min(4.0, target / low[1] if low[1] > 0 else 4.0) * 1.05)
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return low[0] + (target - low[1]) / slope


def check_controls(names: Sequence[str], wanted: Sequence[str], *, steering: object) -> None:
    """Refuse a call that cannot be run.

    Raises:
        ValueError: no gate, two gates of one name and threshold, an unknown control, or ``steered`` without a steering.
    """
    if not names:
        raise ValueError("Routing needs at least one gate, such as routing.js(0.1).")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"Two gates are called {twice[0]!r}; give one another name with dataclasses.replace.")
    unknown = [control for control in wanted if control not in KNOWN]
    if unknown:
        raise ValueError(f"There is no control {unknown[0]!r}; there are {', '.join(KNOWN)}.")
    if "steered" in wanted and steering is None:
        raise ValueError("The control 'steered' needs steering=, what the base is steered by (hooks.steering).")
