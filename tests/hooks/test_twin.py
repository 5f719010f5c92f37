"""The random twin: same shape and tokenizer, other weights, the same each time, global randomness untouched."""

from pathlib import Path

import torch

from hooks.model import Model
from hooks.twin import random_twin


def test_the_twin_has_the_shape_and_none_of_the_weights(llama_dir: Path) -> None:
    model = Model.load(str(llama_dir))
    before = torch.random.get_rng_state()
    twin, again, other = random_twin(model, seed=1), random_twin(model, seed=1), random_twin(model, seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (twin.n_layers, twin.d_model, twin.d_vocab) == (model.n_layers, model.d_model, model.d_vocab)
    assert twin.weights_hash == again.weights_hash != other.weights_hash
    assert twin.weights_hash != model.weights_hash
