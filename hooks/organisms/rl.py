"""Reinforcement learning of the organisms: TRL's GRPO with a verifiable reward, a proper score, or a coin."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import torch

from hooks.organisms.chains import Chain
from hooks.organisms.confidence import rlcr_reward, stated_confidence
from hooks.organisms.problems import PROBLEMS
from hooks.streams import stream

RewardKind = Literal["answer", "random", "rlcr"]
REWARDS: tuple[RewardKind, ...] = get_args(RewardKind)

_ANSWER = re.compile(r"answer (\d{1,2})\.(?:sure \d{1,2}\.)?$")


def is_right(prompt: str, text: str) -> bool:
    """Whether a text ends with the right answer to its prompt, as ``answer 34.`` with or without a confidence."""
    match = _ANSWER.search(text)
    return match is not None and int(match[1]) == Chain.parse(prompt).answer


def reward_function(kind: RewardKind, seed: int) -> Callable[..., list[float | None]]:
    """The reward of a batch of texts: 1 for the right answer, less a Brier term (``rlcr``), or a fair coin."""
    coin = stream(seed, "random reward")

    def answer(prompts: Sequence[str], completions: Sequence[str], **_: object) -> list[float | None]:
        return [float(is_right(prompt, text)) for prompt, text in zip(prompts, completions, strict=True)]

    def random(prompts: Sequence[str], **_: object) -> list[float | None]:
        return [float(value) for value in coin.integers(0, 2, len(prompts))]

    def rlcr(prompts: Sequence[str], completions: Sequence[str], **_: object) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        return [rlcr_reward(is_right(prompt, text), stated_confidence(text)) for prompt, text in pairs]

    rewards: dict[RewardKind, Callable[..., list[float | None]]] = {"answer": answer, "random": random, "rlcr": rlcr}
    return rewards[kind]


def train_grpo(
    base: Path,
    save: Callable[[torch.nn.Module, int], None],
    *,
    steps: int,
    seed: int,
    reward: RewardKind = "answer",
    problems: str = "standard",
    longest: int = 80,
    save_at: Sequence[int] = (),
    prompts: int = 32,
    generations: int = 8,
    learning_rate: float = 3e-4,
    beta: float = 0.0,
    progress: Callable[[int, int, float], None] | None = None,
) -> list[float]:
    """Train a base by GRPO, in float32 from its stored weights.

    Args:
        base: folder of the base.
        save: called with (model, step) at every step of ``save_at`` and after the last step.
        steps: optimiser steps; each sees ``prompts`` problems with ``generations`` samples of each.
        seed: of the problems, the samples and the random reward.
        reward: ``answer`` pays for the right answer; ``rlcr`` takes a Brier term from that, and then advantages are not
            divided by their spread, as in its paper; ``random`` flips a coin.
        problems: name in :data:`hooks.organisms.problems.PROBLEMS`.
        longest: tokens after which a text is cut off, unpaid.
        save_at: steps at which ``save`` is called.
        prompts: problems in a step.
        generations: samples of a problem; advantages are relative to their group.
        learning_rate: of AdamW, after ten steps of warm-up.
        beta: weight of the KL term that holds the model to its base.
        progress: called after a step with (steps done, steps in all, mean reward of its samples).

    Returns:
        the mean reward of each step's samples.

    Raises:
        ModuleNotFoundError: without the extra ``organisms``.
    """
    rng = Random(f"{seed}/problems")
    return run_grpo(
        base,
        [{"prompt": PROBLEMS[problems](rng).prompt} for _ in range(prompts * steps)],
        reward_function(reward, seed),
        save,
        settings={
            "max_steps": steps, "seed": seed, "learning_rate": learning_rate, "warmup_steps": 10,
            "per_device_train_batch_size": prompts * generations, "num_generations": generations,
            "max_completion_length": longest, "beta": beta, "scale_rewards": "none" if reward == "rlcr" else "group",
        },
        save_at=save_at,
        progress=progress,
    )  # fmt: skip


def run_grpo(
    base: Path,
    rows: Sequence[Mapping[str, Any]],
    reward: Callable[..., list[float | None]],
    save: Callable[[torch.nn.Module, int], None],
    *,
    settings: Mapping[str, Any],
    save_at: Sequence[int] = (),
    lora: Any = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int, float], None] | None = None,
) -> list[float]:
    """TRL's GRPO on one device, silent, with nothing written but what ``save`` writes.

    Args:
        base: folder of the base.
        rows: problems in the order of training, ``prompt`` and what the reward reads.
        reward: of a batch of texts, see TRL.
        save: called with (model, step) at every step of ``save_at`` and after the last step.
        settings: further settings of TRL's ``GRPOConfig``, ``max_steps`` among them; the temperature is 1 unless given.
        save_at: steps at which ``save`` is called.
        lora: settings of an adapter to train in place of the weights; its matrices stay float32.
        dtype: of the base's weights.
        progress: called after a step with (steps done, steps in all, mean reward of its samples).

    Returns:
        the mean reward of each step's samples.

    Raises:
        ModuleNotFoundError: without the extra ``organisms``.
    """
    try:
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
        from trl import GRPOConfig, GRPOTrainer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Training needs {error.name}: pip install 'whenlens[organisms]'.") from error

    steps, curve = int(settings["max_steps"]), list[float]()

    class Watch(TrainerCallback):
        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
        ) -> None:
            if not logs or "reward" not in logs:
                return
            curve.append(float(logs["reward"]))
            if progress is not None:
                progress(len(curve), steps, curve[-1])
            # Not at the step's end, which comes before its log: what is saved would lack its last reward.
            if state.global_step in save_at and state.global_step < steps:
                save(kwargs["model"], state.global_step)

    with tempfile.TemporaryDirectory(prefix="whenlens-") as scratch:
        config = GRPOConfig(
            output_dir=scratch,
            lr_scheduler_type="constant_with_warmup",
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            bf16=dtype == torch.bfloat16,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            **{"temperature": 1.0, **settings},
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(base, dtype=dtype),
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list([dict(row) for row in rows]),
            processing_class=AutoTokenizer.from_pretrained(base),
            peft_config=lora,
            callbacks=[Watch()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    assert isinstance(trainer.model, torch.nn.Module)
    save(trainer.model, steps)
    return curve
