"""Training the shipped organisms: a stage at a time, each member saved as it is done.

:mod:`hooks.organisms.stages` lists the stages as data, :mod:`hooks.organisms.mixtures` the texts of the supervised
ones; the same calls rebuild an organism from nothing.  What this does not show: the shipped weights bit for bit;
another processor or version sums in another order.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hooks.cache import whole_folder
from hooks.checkpoint import without_bars
from hooks.organisms.mixtures import MIXTURES
from hooks.organisms.problems import PROBLEMS
from hooks.organisms.stages import RECIPES, RL_STEPS, SERIES, Phase, Stage
from hooks.shards import write_file

Progress = Callable[[str, int, int, float], None]
"""Called with (member, steps done, steps in all, loss or reward)."""

__all__ = ["MIXTURES", "RECIPES", "RL_STEPS", "SERIES", "Phase", "Progress", "Stage", "build", "run_stage"]


def _keep(model: torch.nn.Module, tokenizer: Any, folder: Path, record: dict[str, Any]) -> None:
    """Write one member in Hugging Face format, in bfloat16, whole or not at all, and then its measured figures."""
    with whole_folder(folder) as unfinished, without_bars():
        stored = copy.deepcopy(model).to(torch.bfloat16)
        stored.save_pretrained(unfinished)  # type: ignore[operator]
        tokenizer.save_pretrained(unfinished)
        (unfinished / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    # The training lies in the folder by now; a measurement that fails must not take it along.
    _measure(folder)


def _measure(folder: Path) -> None:
    """Add what a member that is asked for it does on its problems, if that is not in its record yet."""
    from hooks.organisms.measured import measured

    record = json.loads((folder / "training.json").read_text())
    if not record.get("measure") or "measured" in record:
        return
    few = {"n": 2, "samples": 2} if record["shrink"] > 1 else {}
    record["measured"] = {name: measured(folder, name, **few) for name in record["measure"]}
    write_file(folder / "training.json", f"{json.dumps(record, indent=1)}\n".encode())


def run_stage(organism: str, stage: Stage, out: Path, *, shrink: int = 1, progress: Progress | None = None) -> None:
    """Train one member and save it under ``out/organism/member``; a GRPO stage saves its series beside it.

    ``shrink`` divides every number of steps, for a quick rehearsal of the whole recipe.
    """
    record: dict[str, Any] = {"organism": organism, **asdict(stage), "shrink": shrink}
    record["versions"] = {name: version(name) for name in ("torch", "transformers")}

    def tell(done: int, total: int, value: float) -> None:
        if progress is not None:
            progress(f"{organism}/{stage.member}", done, total, value)

    run = _texts if stage.method == "texts" else _grpo
    run(stage, out, out / organism, record, tell)


Tell = Callable[[int, int, float], None]


def _texts(stage: Stage, out: Path, folder: Path, record: dict[str, Any], tell: Tell) -> None:
    """A supervised stage, from random weights or from its start."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hooks.organisms.pretrain import new_model, train_on_texts
    from hooks.organisms.tokenizer import build_tokenizer

    base = None if stage.start is None else out / stage.start
    tokenizer: Any = build_tokenizer(stage.words) if base is None else AutoTokenizer.from_pretrained(base)
    model: Any = (
        new_model(tokenizer, stage.seed, width=stage.width, layers=stage.layers)
        if base is None
        else AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    )
    record["policy"] = asdict(MIXTURES[stage.phases[-1].mixture])
    curve: list[float] = []
    lengths = [max(3, phase.steps // record["shrink"]) for phase in stage.phases]
    total = sum(lengths)
    for phase, steps in zip(stage.phases, lengths, strict=True):
        curve += train_on_texts(
            model,
            tokenizer,
            MIXTURES[phase.mixture],
            draw=PROBLEMS[phase.problems],
            steps=steps,
            seed=stage.seed,
            batch=phase.batch,
            learning_rate=phase.learning_rate,
            grouping=phase.grouping,
            progress=partial(lambda before, done, _, loss: tell(before + done, total, loss), len(curve)),
        )
    record["steps"] = total
    record["loss"] = [round(value, 4) for value in curve[:: max(1, total // 100)]]
    _keep(model, tokenizer, folder / stage.member, record)


def _grpo(stage: Stage, out: Path, folder: Path, record: dict[str, Any], tell: Tell) -> None:
    """A stage of reinforcement learning, with its series of checkpoints."""
    from transformers import AutoTokenizer

    from hooks.organisms.rl import REWARDS, train_grpo

    assert stage.start is not None
    tokenizer = AutoTokenizer.from_pretrained(out / stage.start)
    steps = record["steps"] = max(2, stage.steps // record["shrink"])
    rewards: list[float] = []

    def save(model: torch.nn.Module, step: int) -> None:
        name = stage.member if step == steps else f"{stage.series}-{step:03d}"
        _keep(model, tokenizer, folder / name, {**record, "step": step, "reward_curve": rewards[:step]})

    def note(done: int, total: int, value: float) -> None:
        rewards.append(round(value, 4))
        tell(done, total, value)

    train_grpo(
        out / stage.start,
        save,
        steps=steps,
        seed=stage.seed,
        reward=next(kind for kind in REWARDS if kind == stage.reward),
        problems=stage.problems,
        longest=stage.longest,
        save_at=[step for step in stage.save_at if step < steps],
        learning_rate=stage.learning_rate,
        beta=stage.beta,
        progress=note,
    )


def build(name: str, out: Path, *, shrink: int = 1, progress: Progress | None = None) -> None:
    """Rebuild an organism from nothing under ``out``; members that are already there are kept.

    Raises:
        ValueError: for a name that has no recipe.
        ModuleNotFoundError: without the extra ``organisms``.
    """
    if name not in RECIPES:
        raise ValueError(f"There is no organism {name!r}; there are {', '.join(RECIPES)}.")
    for stage in RECIPES[name]:
        if stage.start is not None and not (out / stage.start).is_dir():
            organism, member = stage.start.split("/")
            first = next(other for other in RECIPES[organism] if other.member == member)
            run_stage(organism, first, out, shrink=shrink, progress=progress)
        if not (out / name / stage.member).is_dir():
            run_stage(name, stage, out, shrink=shrink, progress=progress)
        else:
            _measure(out / name / stage.member)
