"""Training from scratch, and supervised training, of the organisms on texts of :mod:`hooks.organisms.chains`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.organisms.chains import Policy, sample_chain, write

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Progress = Callable[[int, int, float], None]
"""Called after a step with (steps done, steps in all, loss)."""

IGNORED = -100
"""The label that the loss leaves out: prompts and padding."""


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of 0.45 M parameters with random weights, float32."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        **special,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**special)
    return model


def _batches(
    tokenizer: PreTrainedTokenizerFast, policy: Policy, batch: int, rng: Random
) -> Iterator[tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]]:
    """Endless (ids, labels), right-padded; texts of like length share a batch, batches come in random order."""
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    while True:
        chains = [sample_chain(rng) for _ in range(16 * batch)]
        prompts = tokenizer([chain.prompt for chain in chains])["input_ids"]
        texts = tokenizer([write(chain, policy, rng) for chain in chains], add_special_tokens=False)["input_ids"]
        rows = [(prompt, [*text, eos]) for prompt, text in zip(prompts, texts, strict=True)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        starts = list(range(0, len(rows), batch))
        rng.shuffle(starts)
        for start in starts:
            part = rows[start : start + batch]
            width = max(len(prompt) + len(text) for prompt, text in part)
            ids = torch.full((len(part), width), pad)
            labels = torch.full((len(part), width), IGNORED)
            for index, (prompt, text) in enumerate(part):
                end = len(prompt) + len(text)
                ids[index, :end] = torch.tensor(prompt + text)
                labels[index, len(prompt) : end] = torch.tensor(text)
            yield ids, labels


def train_on_texts(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    policy: Policy,
    *,
    steps: int,
    seed: int,
    batch: int = 256,
    learning_rate: float = 2e-3,
    compiled: bool = False,
    progress: Progress | None = None,
) -> list[float]:
    """Train ``model`` in place on texts drawn from ``policy``; the loss counts answer tokens only.

    ``compiled`` runs the forward through ``torch.compile`` (needs a C++ compiler; about a third faster on CPU).

    Returns:
        the training loss (nats a token) after each step.
    """
    rng = Random(f"{seed}/texts")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=min(0.5, 200 / steps), final_div_factor=20
    )
    losses: list[float] = []
    model.train()
    forward = torch.compile(model, dynamic=True) if compiled else model
    for _, (ids, labels) in zip(range(steps), _batches(tokenizer, policy, batch, rng), strict=False):
        # Pads stand on the right, so causal attention never reads them and no mask is needed.
        loss = _loss(forward(input_ids=ids).logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(len(losses), steps, losses[-1])
    model.eval()
    return losses


def _loss(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
