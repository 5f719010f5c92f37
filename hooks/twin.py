"""A randomly initialised twin: the architecture without the training, the null of every probe."""

from __future__ import annotations

import torch

from hooks.model import Model


def random_twin(model: Model, *, seed: int = 0) -> Model:
    """A model of the same configuration and tokenizer with fresh random weights, in the same precision and place.

    What a probe reads in it comes from the tokens and the shape of the network alone, not from what was learned.
    """
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = AutoModelForCausalLM.from_config(model.net.config, dtype=model.dtype)
    net.to(model.device).eval().requires_grad_(False)
    return Model(net, model.tokenizer, name=f"random twin of {model.name}")
