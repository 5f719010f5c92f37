"""Which part of a recovery is the gate's own? Gates and their matched controls, run and graded with one call.

For every gate a mixed run, and beside it its controls (:mod:`probes.routing.matched`) and, with strategy vectors, the
base steered at the gate's places by the strategy that the RL model is in, with that arm's own six controls
(:mod:`probes.routing.steered`).

All runs draw each token from the same named random numbers, so differences between arms are paired within problems as
well as over them. Protocol after arXiv 2603.22446 and the controls of arXiv 2510.07364's second version. What it does
not show: a gate that looks at both models is an oracle; that its places suffice does not show that a model which never
saw RL could find them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from hooks.gate import Gate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.steer import Steering
from probes.results import manifest
from probes.routing.matched import CONTROLS, Control, check_controls, control_arm, match_changed
from probes.routing.outcome import RouteResult, outcome
from probes.routing.runs import Arm, Setting
from probes.routing.steered import strategy_arms
from probes.routing.vectors import StrategyVectors
from probes.tasks import Problem

__all__ = ["CONTROLS", "Arm", "Control", "route"]


def route(
    pair: Pair,
    problems: Sequence[Problem],
    *,
    base: Rollouts,
    rl: Rollouts,
    gates: Sequence[Gate],
    controls: bool | Sequence[Control] = True,
    matched: Sequence[Gate] | None = None,
    steering: Steering | None = None,
    strategies: StrategyVectors | None = None,
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    draft: int | Literal["auto"] = "auto",
    batch_size: int = 64,
    template: str = "auto",
    n_boot: int = 2000,
    level: float = 0.95,
    folder: str | Path | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> RouteResult:
    """Run mixed decoding under every gate and its controls, grade it, and measure what each recovers.

    Args:
        pair: a :class:`hooks.pair.Pair`.
        problems: the problems that ``base`` and ``rl`` answered.
        base: graded texts of the base, decoded with the same options.
        rl: graded texts of the RL model, likewise.
        gates: one run each; several thresholds of one gate make a curve.
        controls: True for ``random``, ``random_changed``, ``first_k``, ``entropy`` and ``backward``; or those wanted,
            by name; ``resample``, ``rank`` and ``steered`` are known as well.
        matched: the gates that get controls; all of them by default.
        steering: what the control ``steered`` steers the base by at open places; with it, that control is run.
        strategies: vectors of :func:`probes.routing.strategy_vectors`; with them each matched gate gets the arm
            that steers by strategy, and its six controls.
        n: samples a problem.
        temperature: 0 is greedy.
        top_p: nucleus.
        max_new_tokens: longest text.
        seed: names the streams of tokens and gates.
        draft: tokens drafted at a time, see :func:`hooks.mix.mix`; it changes the speed and no token.
        batch_size: texts at a time.
        template: prompt template, as for ``base`` and ``rl``.
        n_boot: bootstrap draws.
        level: of the intervals.
        folder: where finished arms are kept; the same call again reads them and goes on with the rest. A gate of your
            own is known there by its name and threshold, so give another formula another name.
        progress: called with (arm, texts done, texts in all).

    Raises:
        ValueError: no gate, two gates of one name and threshold, ungraded texts, or an unknown control.

    It does not show why the models part where a gate opens, nor that other places would not do as well.
    """
    wanted: tuple[Control, ...] = CONTROLS if controls is True else tuple(controls or ())
    wanted += ("steered",) if steering is not None and "steered" not in wanted else ()
    names = [str(gate) for gate in gates]
    check_controls(names, wanted, steering=steering)
    decoding = {
        "n": n, "temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed,
        "draft": draft, "batch_size": batch_size, "template": template,
    }  # fmt: skip
    setting = Setting(pair, list(problems), decoding, Path(folder) if folder is not None else None)
    if temperature == 0 and "resample" in wanted:
        warnings.warn("resample is left out: at temperature 0 the base would write the same token again", stacklevel=2)
        wanted = tuple(control for control in wanted if control != "resample")
    chosen = names if matched is None else [str(gate) for gate in matched]
    arms: list[Arm] = []
    rollouts: dict[str, Rollouts] = {}

    def write(arm: Arm) -> Rollouts:
        return setting.run(arm, None if progress is None else (lambda done, total: progress(arm.name, done, total)))

    def keep(arm: Arm, texts: Rollouts) -> None:
        rollouts[arm.name] = texts
        arms.append(arm)

    for gate, name in zip(gates, names, strict=True):
        keep(own := Arm(name, gate), write(own))
        if name not in chosen:
            continue
        for control in wanted:
            if control == "random_changed":
                keep(*match_changed(name, rollouts[name], write))
                continue
            beside = control_arm(control, pair, name, gate, rollouts[name], seed=seed, steering=steering)
            keep(beside, write(beside))
        if strategies is not None:
            for beside, texts in strategy_arms(strategies, name, gate, write, seed=seed):
                keep(beside, texts)
    made = manifest(
        measure="routing.route", gates=names, controls=list(wanted), level=level, n_boot=n_boot,
        steering=None if steering is None else str(steering),
        strategies=None if strategies is None else strategies.digest,
        **{key: value for key, value in decoding.items() if key != "batch_size"},
    )  # fmt: skip
    return outcome(
        arms=[arm.told for arm in arms], base=base, rl=rl, rollouts=rollouts, manifest=made, n_boot=n_boot,
        level=level, seed=seed,
    )  # fmt: skip
