"""Training from scratch, and supervised training, of the organisms on texts of :mod:`hooks.organisms.chains`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.organisms.chains import Chain, Policy, sample_chain, write

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Progress = Callable[[int, int, float], None]
"""Called after a step with (steps done, steps in all, loss)."""

IGNORED = -100
"""The label that the loss leaves out: prompts and padding."""


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int, *, width: int = 96, layers: int = 4) -> LlamaForCausalLM:
    """A Llama with random weights, float32; 0.45 M parameters at the default size, 0.11 M at half the width."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        **special,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**special)
    return model


Rows = list[tuple[list[int], list[int]]]
"""(prompt ids, answer ids) of some texts."""

Grouping = Literal["length", "random"]


Draw = Callable[[Random], Chain]
"""Draws a problem."""


def _rows(tokenizer: PreTrainedTokenizerFast, policy: Policy, draw: Draw, count: int, rng: Random) -> Rows:
    """Draw problems and write a text for each; every text ends with the end token."""
    chains = [draw(rng) for _ in range(count)]
    prompts = tokenizer([chain.prompt for chain in chains])["input_ids"]
    texts = tokenizer([write(chain, policy, rng) for chain in chains], add_special_tokens=False)["input_ids"]
    return [(prompt, [*text, tokenizer.eos_token_id]) for prompt, text in zip(prompts, texts, strict=True)]


def _batches(
    tokenizer: PreTrainedTokenizerFast, policy: Policy, draw: Draw, batch: int, rng: Random, grouping: Grouping
) -> Iterator[list[Rows]]:
    """Endless optimiser steps, each a list of parts of like length that are padded on their own."""

    def length(row: tuple[list[int], list[int]]) -> int:
        return len(row[0]) + len(row[1])

    while True:
        if grouping == "random":
            rows = sorted(_rows(tokenizer, policy, draw, batch, rng), key=length)
            quarter = -(-batch // 4)
            yield [rows[start : start + quarter] for start in range(0, batch, quarter)]
            continue
        rows = sorted(_rows(tokenizer, policy, draw, 16 * batch, rng), key=length)
        starts = list(range(0, len(rows), batch))
        rng.shuffle(starts)
        for start in starts:
            yield [rows[start : start + batch]]


def _pad(rows: Rows, pad: int) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """(ids, labels), padded on the right, where causal attention never reads: no mask is needed."""
    width = max(len(prompt) + len(text) for prompt, text in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for index, (prompt, text) in enumerate(rows):
        end = len(prompt) + len(text)
        ids[index, :end] = torch.tensor(prompt + text)
        labels[index, len(prompt) : end] = torch.tensor(text)
    return ids, labels


def train_on_texts(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    policy: Policy,
    *,
    draw: Draw = sample_chain,
    steps: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 2e-3,
    grouping: Grouping = "random",
    progress: Progress | None = None,
) -> list[float]:
    """Train ``model`` in place on texts of ``policy`` on problems of ``draw``; the loss counts answer tokens only.

    ``grouping="random"`` draws each step's texts at random, so that every token counts the same and the model learns
    the stated probabilities.  ``"length"`` fills a step with texts of one length: less padding, but a token of a long
    text then counts less than one of a short text, which biases the choice of style; follow it with ``"random"``.

    Returns:
        the training loss (nats a token) after each step.
    """
    rng = Random(f"{seed}/texts/{grouping}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=min(0.5, 200 / steps), final_div_factor=20
    )
    losses: list[float] = []
    model.train()
    for _, parts in zip(range(steps), _batches(tokenizer, policy, draw, batch, rng, grouping), strict=False):
        tokens = sum(len(text) for part in parts for _, text in part)
        total = 0.0
        for part in parts:
            ids, labels = _pad(part, tokenizer.pad_token_id)
            loss = _loss(model(input_ids=ids).logits, labels) / tokens
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        if progress is not None:
            progress(len(losses), steps, losses[-1])
    model.eval()
    return losses


def _loss(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
