"""Activations of one model in another: as without a cache, whatever is batched, sampled or dropped."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hooks.generate import generate
from hooks.implant import implant
from hooks.model import Model
from hooks.pair import Pair
from hooks.positions import Positions
from hooks.sampling import choose, uniforms
from hooks.sites import Site
from tests.families import tiny

PROMPTS = ["1+2=", "wait, what is 7*8?", "a", "then 3-2;"]
NEW = 8


@functools.cache
def pair_of(family: str = "llama") -> Pair:
    return Pair.load(tiny(family, seed=1), tiny(family, seed=2), dtype=torch.float64, device="cpu")


def reference(
    pair: Pair, site: str, positions: Positions, prompt: str, *, row: int = 0, u: Any = None, temperature: float = 0.0
) -> list[int]:
    """Both models in full at every step, no cache: the donor's activation where the rule says so."""
    ids = list(pair.base.encode([prompt])[0])
    n_prompt = len(ids)
    for t in range(NEW):
        chosen = torch.tensor(positions.select(ids, n_prompt, tokenizer=pair.base.tokenizer, row=row))
        text, kept = torch.tensor([ids]), list[Tensor]()

        def put(_: Site, hidden: Tensor, chosen: Tensor = chosen, kept: list[Tensor] = kept) -> Tensor:
            return torch.where(chosen[None, :, None], kept[0], hidden)

        with torch.no_grad():
            with pair.rl.watch(site, lambda _, hidden, kept=kept: kept.append(hidden)):
                pair.rl.net(text, use_cache=False)
            with pair.base.watch(site, put):
                logits = pair.base.net(text, use_cache=False).logits[:, -1]
        ids.append(int(choose(logits, temperature, 1.0, None if u is None else torch.tensor([u[t]]))))
        if ids[-1] in pair.base.eos_ids:
            break
    return ids[n_prompt:]


RULES = {
    "all": Positions.all(),
    "prompt": Positions.prompt(),
    "generated": Positions.generated(),
    "every": Positions.every(3),
    "first": Positions.first(2),
    "after ids": Positions.after(token_ids=tuple(range(4, 64, 3))),
    "mask": Positions.mask([[False, True] * 20, [True] * 30, [False] * 1 + [True] * 9, [True]]),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("site", ["resid_post.0", "attn_out.1", "resid_pre.2"])
def test_a_batch_over_a_cache_is_one_text_without(rule: str, site: str) -> None:
    pair = pair_of()
    steering = implant(pair.rl, site, positions=RULES[rule])
    found = generate(pair.base, PROMPTS, steering=steering, max_new_tokens=NEW)
    expected = [reference(pair, site, RULES[rule], prompt, row=row) for row, prompt in enumerate(PROMPTS)]
    assert [list(ids) for ids in found.frame["ids"]] == expected
    plain = generate(pair.base, PROMPTS, max_new_tokens=NEW)
    assert [list(ids) for ids in plain.frame["ids"]] != expected


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "qwen3", "gemma2"])
def test_every_family(family: str) -> None:
    pair, rule = pair_of(family), Positions.generated()
    prompts = ["1+2=", "4-3="]
    found = generate(pair.base, prompts, steering=implant(pair.rl, "resid_post.1"), max_new_tokens=NEW)
    assert [list(ids) for ids in found.frame["ids"]] == [
        reference(pair, "resid_post.1", rule, prompt) for prompt in prompts
    ]


def test_samples_of_one_prompt_share_its_reading() -> None:
    pair, rule = pair_of(), Positions.generated()
    found = generate(
        pair.base, PROMPTS[:2], n=3, temperature=1.0, steering=implant(pair.rl, "resid_post.1"), max_new_tokens=NEW,
        seed=4, batch_size=5,
    ).frame  # fmt: skip
    for row in found.to_dict("records"):
        u = uniforms(4, row["problem"], row["sample"], NEW)
        assert list(row["ids"]) == reference(pair, "resid_post.1", rule, row["prompt"], u=u, temperature=1.0)
    assert len({tuple(ids) for ids in found["ids"]}) > 2


def test_behind_the_last_layer_the_donor_writes() -> None:
    base, rl = (Model.load(tiny("llama", seed=seed), device="cpu") for seed in (1, 2))
    for name in ("model.norm.weight", "lm_head.weight"):
        rl.net.get_parameter(name).data = base.net.get_parameter(name).data
    pair = Pair.of(base, rl)
    donor = generate(pair.rl, PROMPTS, max_new_tokens=NEW)
    found = generate(pair.base, PROMPTS, steering=implant(pair.rl, "resid_post.2"), max_new_tokens=NEW)
    assert found.frame["ids"].tolist() == donor.frame["ids"].tolist()
    assert found.frame["ids"].tolist() != generate(pair.base, PROMPTS, max_new_tokens=NEW).frame["ids"].tolist()
    assert np.allclose(np.concatenate(found.frame["logp"]), np.concatenate(donor.frame["logp"]), atol=1e-5)


def test_what_does_not_fit_is_refused_and_nothing_is_left_behind() -> None:
    pair = pair_of()
    before = generate(pair.base, PROMPTS, max_new_tokens=NEW).frame["ids"].tolist()
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pair.base.net.modules())
    with pytest.raises(ValueError, match="has already"):
        generate(pair.rl, PROMPTS, steering=implant(pair.rl, "resid_post.1"))
    with pytest.raises(ValueError, match="do not both have"):
        generate(pair.base, PROMPTS, steering=implant(pair.rl, "resid_post.3"))
    other = Model.load(tiny("llama", hidden_size=48), dtype=torch.float64, device="cpu")
    with pytest.raises(ValueError, match="do not both have"):
        generate(other, PROMPTS, steering=implant(pair.rl, "resid_post.1"))
    steering = implant(pair.rl, "resid_post.1")
    with pytest.raises(ValueError, match=r"writes with hooks\.generate"), steering.on(pair.base):
        pair.base.net(torch.tensor([[5, 6]]))
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pair.base.net.modules()) == hooks
    assert generate(pair.base, PROMPTS, max_new_tokens=NEW).frame["ids"].tolist() == before
