"""LoRA adapters of the real language model: GRPO with a true or a random reward, and supervised steps as the contrast.

All three start from the fetched base, see the same problems (:mod:`hooks.organisms.arithmetic`, training side) and end
as a few megabytes of safetensors with ``training.json`` beside them: method, seed, settings, curve. What the random
reward shows is what optimisation alone does; what it does not show is what a longer run would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from hooks.cache import whole_folder
from hooks.model import Model
from hooks.organisms.arithmetic import Sum, distinct, draw, is_right
from hooks.organisms.fetched import SHA256, fetched_or_refuse
from hooks.organisms.rl import run_grpo
from hooks.shards import write_file
from hooks.streams import stream

Method = Literal["true reward", "random reward", "worked solutions"]


@dataclass(frozen=True)
class Recipe:
    """How one adapter is trained."""

    member: str
    method: Method
    steps: int
    learning_rate: float
    seed: int = 0
    prompts: int = 4
    """Problems in a step."""
    generations: int = 8
    """Samples of a problem in a GRPO step."""
    rank: int = 8
    """Of the LoRA matrices."""
    max_new_tokens: int = 24
    temperature: float = 0.7
    """Of GRPO's samples: at 1 the base is right in 8 % of them and most groups have no spread, so there is little to
    learn from."""
    beta: float = 0.0
    """Weight of the KL term that holds the model to its base."""
    save_at: tuple[int, ...] = ()
    """Steps at which the adapter is also saved, as ``step-NNN``; for one recipe alone, whose series the study reads."""


RECIPES: dict[str, Recipe] = {
    recipe.member: recipe
    for recipe in (
        Recipe("rl", "true reward", 40, 5e-4, save_at=(10, 20)),
        Recipe("random", "random reward", 40, 5e-4),
        Recipe("sft", "worked solutions", 40, 2e-4),
    )
}
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MICRO = 8
"""Rows of a supervised step that are read at once; logits of 49,152 tokens are what fills the memory."""
RECORD = "training.json"
Watch = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, mean reward or loss)."""


def build(out: Path, *, shrink: int = 1, progress: Callable[[str, int, int, float], None] | None = None) -> None:
    """Train every adapter under ``out``; members that are already there are kept.

    ``shrink`` divides every number of steps, for a rehearsal; ``progress`` is called with the member before what
    :func:`train` calls it with.
    """
    for member, recipe in RECIPES.items():
        if not (out / member).is_dir():
            watch = None if progress is None else partial(progress, member)
            train(member, out, steps=max(1, recipe.steps // shrink), progress=watch)
        elif "held_out" not in json.loads((out / member / RECORD).read_text()):
            _measure(out / member, fetched_or_refuse())


def train(member: str, out: Path, *, steps: int | None = None, progress: Watch | None = None) -> Path:
    """Train one adapter and save it under ``out/member``, whole or not at all.

    Args:
        member: ``rl``, ``random`` or ``sft``.
        out: folder of the adapters.
        steps: fewer steps than the recipe's, for a rehearsal.
        progress: called after each step.

    Returns:
        the adapter's folder.

    Raises:
        ValueError: for a member that has no recipe.
        FileNotFoundError: if the base was not fetched.
        ModuleNotFoundError: without the extra ``organisms``.
    """
    if member not in RECIPES:
        raise ValueError(f"There is no recipe {member!r} for smollm2; there are {', '.join(RECIPES)}.")
    base = fetched_or_refuse()
    recipe = RECIPES[member]
    total = steps or recipe.steps
    record: dict[str, Any] = {"organism": "smollm2", **asdict(recipe), "steps": total, "base_sha256": SHA256}
    record["start"] = "smollm2/base"
    libraries = {"torch": "torch", "transformers": "transformers", "peft": "peft", "reasoning_gym": "reasoning-gym"}
    if recipe.method != "worked solutions":
        libraries["trl"] = "trl"
    for package in libraries:
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"Training needs {package}: pip install 'whenlens[organisms]'.")
    record["versions"] = {name: version(name) for name in libraries.values()}
    curve: list[float] = []

    def note(value: float) -> None:
        curve.append(round(value, 4))
        if progress is not None:
            progress(len(curve), total, value)

    def save(model: Any, step: int) -> None:
        name = member if step == total else f"step-{step:03d}"
        which = "loss" if recipe.method == "worked solutions" else "reward_curve"
        _save(model, base, out / name, {**record, "step": step, which: curve[:step]})

    run = _supervised if recipe.method == "worked solutions" else _grpo
    run(base, recipe, total, note, save)
    return out / member


def held_out(model: Model, *, n: int = 100, seed: int = 0) -> dict[str, int | float]:
    """Greedy accuracy of a base, with or without an adapter, on the first distinct held-out problems.

    Returns:
        ``problems``, ``greedy_accuracy`` (the last number of a text is the answer) and ``tokens`` (a text, mean).

    It is one run on one set of problems, without an interval: the counts are there to make one.
    """
    from hooks.generate import generate

    problems = distinct(seed, "held out", n)
    frame = generate(model, [one.question for one in problems], max_new_tokens=32, batch_size=50).frame
    right = [is_right(text, one.answer) for text, one in zip(frame["text"], problems, strict=True)]
    length = sum(len(ids) for ids in frame["ids"]) / n
    return {"problems": n, "greedy_accuracy": round(sum(right) / n, 4), "tokens": round(length, 2)}


def _save(model: Any, base: Path, folder: Path, record: dict[str, Any]) -> None:
    """Write an adapter with its record, then what it does on held-out problems as it was written."""
    with whole_folder(folder) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        (unfinished / "README.md").unlink(missing_ok=True)
        # Half precision halves what ships; the rounding is two orders below the update.
        file = unfinished / "adapter_model.safetensors"
        save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}, file)
        config = json.loads((unfinished / "adapter_config.json").read_text())
        # The base lies in every user's own cache; a path of this machine would be wrong on all others.
        config |= {"base_model_name_or_path": None, "target_modules": sorted(config["target_modules"])}
        (unfinished / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (unfinished / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    # Hours of training lie in the folder by now; a measurement that fails must not take it along.
    _measure(folder, base)


def _measure(folder: Path, base: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    told = {**record, "held_out": held_out(Model.load(folder, adapter_base=str(base)))}
    write_file(folder / RECORD, f"{json.dumps(told, indent=1)}\n".encode())


def _lora(recipe: Recipe) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank, lora_alpha=2 * recipe.rank, lora_dropout=0.0, target_modules=list(TARGETS), task_type="CAUSAL_LM"
    )


def rewards(method: Method, seed: int, *, end: int) -> Callable[..., list[float | None]]:
    """Reward of a batch: 1 for a text that stops with ``end`` and whose last number is the answer; or a fair coin."""
    coin = stream(seed, "random reward")

    def true(
        completions: Sequence[list[dict[str, str]]],
        answer: Sequence[str],
        completion_ids: Sequence[list[int]],
        **_: Any,
    ) -> list[float | None]:
        texts = [completion[0]["content"] for completion in completions]
        whole = [len(ids) > 0 and ids[-1] == end for ids in completion_ids]
        return [float(done and is_right(text, right)) for text, right, done in zip(texts, answer, whole, strict=True)]

    def random(completions: Sequence[Any], **_: Any) -> list[float | None]:
        return [float(value) for value in coin.integers(0, 2, len(completions))]

    return true if method == "true reward" else random


def _grpo(
    base: Path, recipe: Recipe, steps: int, note: Callable[[float], None], save: Callable[[Any, int], None]
) -> None:
    from transformers import AutoTokenizer

    problems = islice(draw(recipe.seed, "train"), recipe.prompts * steps)
    run_grpo(
        base,
        [{"prompt": [{"role": "user", "content": one.question}], "answer": one.answer} for one in problems],
        rewards(recipe.method, recipe.seed, end=int(AutoTokenizer.from_pretrained(base).eos_token_id)),
        save,
        settings={
            "max_steps": steps, "seed": recipe.seed, "learning_rate": recipe.learning_rate, "warmup_steps": 5,
            "per_device_train_batch_size": recipe.prompts * recipe.generations, "num_generations": recipe.generations,
            "max_completion_length": recipe.max_new_tokens, "beta": recipe.beta, "shuffle_dataset": False,
            "temperature": recipe.temperature,
        },
        save_at=recipe.save_at,
        lora=_lora(recipe),
        dtype=torch.bfloat16,
        progress=lambda done, total, value: note(value),
    )  # fmt: skip


def _supervised(
    base: Path, recipe: Recipe, steps: int, note: Callable[[float], None], save: Callable[[Any, int], None]
) -> None:
    """Cross-entropy on worked solutions of the same problems, on the answer's tokens alone."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    end = int(tokenizer.eos_token_id)
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), _lora(recipe))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=recipe.learning_rate)
    problems = draw(recipe.seed, "train")
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, step / 5)
        batch = [_answered(tokenizer, one) for one in islice(problems, recipe.prompts * recipe.generations)]
        answers = sum(len(row) - start for row, start in batch)
        optimiser.zero_grad()
        loss = 0.0
        for at in range(0, len(batch), MICRO):
            part = _token_loss(model, batch[at : at + MICRO], end) / answers
            part.backward()
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        note(loss)
        if step in recipe.save_at and step < steps:
            save(model, step)
    save(model, steps)


def _token_loss(model: Any, rows: Sequence[tuple[list[int], int]], end: int) -> torch.Tensor:
    """Cross-entropy summed over the answers' tokens of a few padded rows."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [end] * (longest - len(row)) for row, _ in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in rows])
    labels = torch.tensor([[-100] * start + row[start:] + [-100] * (longest - len(row)) for row, start in rows])
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def _answered(tokenizer: Any, one: Sum) -> tuple[list[int], int]:
    """Ids of a problem with its worked solution, and where the solution starts."""
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": one.question}], add_generation_prompt=True, tokenize=False
    )
    start = tokenizer(asked, add_special_tokens=False).input_ids
    return start + tokenizer(one.worked(), add_special_tokens=False).input_ids + [tokenizer.eos_token_id], len(start)
