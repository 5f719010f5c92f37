"""Which part of a recovery is the gate's own? Gates and their matched controls, run and graded with one call.

For every gate a mixed run, and beside it, at the rate that the gate really opened:

* ``random``: as many places, anywhere;
* ``first_k``: the same number of places a text, all at its beginning (rounded up, in the control's favour);
* ``entropy``: as many places, where the writing model is least certain, its threshold being the quantile of the
  entropies over the gate's own mixed text;
* ``backward``: the same gate while the RL model writes and the base is let in: are these places *necessary*?
* ``resample``: the same gate, but the base writes again itself, with other random numbers (temperature above 0 only);
* ``rank``: the same gate, but the other model may only choose among the base's own most probable tokens.

All runs draw each token from the same named random numbers, so differences between arms are paired within problems as
well as over them. Protocol after arXiv 2603.22446 and the controls of arXiv 2510.07364's second version. What it does
not show: a gate that looks at both models is an oracle; that its places suffice does not show that a model which never
saw RL could find them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hooks.gate import Gate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.results import manifest
from probes.routing.gates import Half, budgeted, entropy, first_k, random
from probes.routing.outcome import RouteResult, outcome
from probes.tasks import Problem, grade

Write = Literal["other", "resample", "rank_among_top_k"]
Control = Literal["random", "first_k", "entropy", "backward", "resample", "rank"]
CONTROLS: tuple[Control, ...] = ("random", "first_k", "entropy", "backward")
"""The controls that ``controls=True`` runs."""


@dataclass(frozen=True)
class Arm:
    """One run: who writes, where the other is let in, and what it may write there."""

    name: str
    """What the run is called in tables."""
    gate: Gate
    """When it opens."""
    primary: Half = "base"
    """Who writes where the gate is closed."""
    write: Write = "other"
    """Who writes where it is open, as in :func:`hooks.mix.mix`."""
    kind: str = "gate"
    """``gate`` or the name of the control."""
    matched: str = ""
    """The arm that a control is matched to."""


@dataclass(frozen=True)
class _Setting:
    """What all arms share."""

    pair: Pair
    problems: Sequence[Problem]
    decoding: Mapping[str, Any]
    folder: Path | None

    def run(self, arm: Arm, progress: Callable[[int, int], object] | None) -> Rollouts:
        """Write and grade one arm, or read it where the same arm was finished before."""
        path = self._path(arm)
        if path is not None and path.exists():
            return Rollouts.load(path)
        from hooks.mix import mix

        mixed = mix(
            self.pair, self.problems, gate=arm.gate, primary=arm.primary, write=arm.write,
            progress=progress, **self.decoding,
        )  # fmt: skip
        graded = grade(mixed, self.problems)
        if path is not None:
            graded.save(path)
        return graded

    def _path(self, arm: Arm) -> Path | None:
        if self.folder is None:
            return None
        counted = {name: value for name, value in self.decoding.items() if name != "batch_size"}
        told = [
            arm.gate.name, arm.gate.needs, arm.gate.threshold, str(arm.gate.hidden), arm.primary, arm.write, counted,
            [[problem.id, problem.prompt, problem.answer, problem.kind] for problem in self.problems],
            self.pair.base.weights_hash, self.pair.rl.weights_hash,
        ]  # fmt: skip
        key = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]
        slug = re.sub(r"[^a-z0-9.]+", "-", arm.name.lower()).strip("-")
        return self.folder / f"{slug}-{key}.parquet"


def route(
    pair: Pair,
    problems: Sequence[Problem],
    *,
    base: Rollouts,
    rl: Rollouts,
    gates: Sequence[Gate],
    controls: bool | Sequence[Control] = True,
    matched: Sequence[Gate] | None = None,
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
        controls: True for ``random``, ``first_k``, ``entropy`` and ``backward``; or those wanted, by name.
        matched: the gates that get controls; all of them by default.
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
    wanted = CONTROLS if controls is True else tuple(controls or ())
    names = [str(gate) for gate in gates]
    _check(names, wanted)
    decoding = {
        "n": n, "temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed,
        "draft": draft, "batch_size": batch_size, "template": template,
    }  # fmt: skip
    setting = _Setting(pair, list(problems), decoding, Path(folder) if folder is not None else None)
    if temperature == 0 and "resample" in wanted:
        warnings.warn("resample is left out: at temperature 0 the base would write the same token again", stacklevel=2)
        wanted = tuple(control for control in wanted if control != "resample")
    chosen = names if matched is None else [str(gate) for gate in matched]
    arms: list[Arm] = []
    rollouts: dict[str, Rollouts] = {}

    def run(arm: Arm) -> None:
        tell = None if progress is None else (lambda done, total: progress(arm.name, done, total))
        rollouts[arm.name] = setting.run(arm, tell)
        arms.append(arm)

    for gate, name in zip(gates, names, strict=True):
        run(Arm(name, gate))
        if name in chosen:
            for control in wanted:
                run(_control(control, arms, pair, name, gate, rollouts[name], seed))
    made = manifest(
        measure="routing.route", gates=names, controls=list(wanted), level=level, n_boot=n_boot,
        **{key: value for key, value in decoding.items() if key != "batch_size"},
    )  # fmt: skip
    return outcome(
        arms=[(arm.name, arm.kind, arm.matched, arm.gate.name, arm.gate.threshold, arm.primary) for arm in arms],
        base=base, rl=rl, rollouts=rollouts, manifest=made, n_boot=n_boot, level=level, seed=seed,
    )  # fmt: skip


def _check(names: list[str], wanted: Sequence[str]) -> None:
    if not names:
        raise ValueError("Routing needs at least one gate, such as routing.js(0.1).")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"Two gates are called {twice[0]!r}; give one another name with dataclasses.replace.")
    known = ("random", "first_k", "entropy", "backward", "resample", "rank")
    unknown = [control for control in wanted if control not in known]
    if unknown:
        raise ValueError(f"There is no control {unknown[0]!r}; there are {', '.join(known)}.")


def _control(
    control: Control, arms: Sequence[Arm], pair: Pair, name: str, gate: Gate, mixed: Rollouts, seed: int
) -> Arm:
    """The control arm matched to a gate's own run."""
    label = f"{control} at the rate of {name}"
    if control == "backward":
        return Arm(f"backward {name}", gate, primary="rl", kind=control, matched=name)
    if control in ("resample", "rank"):
        write: Write = "resample" if control == "resample" else "rank_among_top_k"
        return Arm(f"{control} at {name}", gate, write=write, kind=control, matched=name)
    tokens = sum(len(ids) for ids in mixed.frame["ids"])
    opened = sum(sum(row) for row in mixed.frame["gate_open"])
    share = opened / tokens if tokens else 0.0
    if control == "random":
        return Arm(label, random(share), kind=control, matched=name)
    if control == "first_k":
        return Arm(label, first_k(math.ceil(opened / max(1, len(mixed)))), kind=control, matched=name)
    limited = budgeted(entropy(), share, pair=pair, text=mixed, seed=seed)
    return Arm(label, replace(limited, name="entropy"), kind=control, matched=name)
