"""What does steering cost while text is written?  ``python -m tests.bench.steering``.

A constant is added at one layer at every generated position of eight rows, greedily, by Hugging Face's own loop inside
``with steering.on(model)`` and by :func:`hooks.generate.generate`; both are timed in turn with Hugging Face's loop
without steering and with TransformerLens' ``generate``.  Gates decide per row and step.  ``--tiny`` runs everything at
a size that means nothing, to see that it runs; ``--only NAME`` runs one part.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from hooks.direction import Direction
from hooks.generate import generate
from hooks.model import Model
from hooks.sites import Site
from hooks.steer import Steering, above, steering
from tests.bench.activations import DEVICE, LLAMA, synchronised
from tests.bench.results import entry, machine, medians, record
from tests.families import tiny

ROWS = 8


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    shape: dict[str, Any] | None
    """Of a Llama with random weights; None for a model that has a name."""
    prompt: int
    new: int
    runs: int
    model: str = "organism:latent:base"


PARTS: dict[str, Size] = {
    "llama": Size(LLAMA, 16, 24, 5),
    "organism": Size(None, 24, 100, 15),
    "smollm2": Size(None, 16, 24, 5, "organism:smollm2:base"),
}
SMALL = {
    "llama": Size({**LLAMA, "num_hidden_layers": 3, "d_vocab": 2048}, 8, 4, 2),
    "organism": Size(None, 8, 4, 2),
    "smollm2": Size(None, 8, 4, 2, "organism:smollm2:base"),
}


class Arms:
    """One model and every way of writing with it."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.model = Model.load(size.model if size.shape is None else tiny("llama", **size.shape), device=DEVICE)
        # No text ends early, so that every arm writes the same number of tokens.
        self.model.__dict__["eos_ids"] = ()
        random = np.random.default_rng(0)
        letters = list("0123456789")
        # One token a character, and in some families one for the beginning of the text.
        self.prompts = ["".join(random.choice(letters, size.prompt - 1)) for _ in range(ROWS)]
        self.ids = torch.tensor(self.model.encode(self.prompts, template="none"), device=DEVICE)
        vector = torch.randn(self.model.d_model, generator=torch.Generator().manual_seed(0))
        self.direction = Direction(vector, Site("resid_post", self.model.n_layers // 3))
        self.plain = steering(self.direction, 8.0)
        self.gated = steering(self.direction, 8.0, when=above(self.direction, 0.0))

    @torch.no_grad()
    def theirs(self, plan: Steering | None = None) -> torch.Tensor:
        """Hugging Face's loop, the same tokens whatever is written."""
        options = {"do_sample": False, "max_new_tokens": self.size.new, "eos_token_id": None, "pad_token_id": 0}
        write: Any = self.model.net.generate
        inputs = {"input_ids": self.ids, "attention_mask": torch.ones_like(self.ids), **options}
        if plan is None:
            return write(**inputs)
        with plan.on(self.model):
            return write(**inputs)

    def ours(self, plan: Steering | None = None) -> list[list[int]]:
        """The loop of this package."""
        options: Any = {"max_new_tokens": self.size.new, "steering": plan, "template": "none"}
        return list(generate(self.model, self.prompts, **options).frame["ids"])

    @torch.no_grad()
    def lens(self) -> torch.Tensor:
        """TransformerLens' loop, unsteered."""
        written: torch.Tensor = self.model.bridge.generate(
            self.ids, max_new_tokens=self.size.new, do_sample=False, stop_at_eos=False, verbose=False,
            return_type="tokens", prepend_bos=False,
        )  # fmt: skip
        return written

    def check(self) -> None:
        """Every arm writes as many tokens, and steering changes some (RuntimeError)."""
        plain, steered = self.theirs(), self.theirs(self.plain)
        lengths = {self.ids.shape[1] + len(own) for own in self.ours(self.plain)}
        lengths |= {plain.shape[1], steered.shape[1], self.lens().shape[1]}
        if lengths != {self.ids.shape[1] + self.size.new}:
            raise RuntimeError(f"the arms write texts of different length: {sorted(lengths)}")
        if torch.equal(plain, steered):
            raise RuntimeError("steering changed no token, so there is nothing to time")


def bench(name: str, size: Size) -> dict[str, Any]:
    """Time every arm of one shape."""
    arms = Arms(size)
    arms.check()
    work: dict[str, Callable[[], object]] = {
        "generate of Hugging Face": arms.theirs,
        "generate of Hugging Face, steered": lambda: arms.theirs(arms.plain),
        "generate, steered": lambda: arms.ours(arms.plain),
        "generate, gated": lambda: arms.ours(arms.gated),
        "generate of TransformerLens": arms.lens,
    }
    times = medians({arm: synchronised(run) for arm, run in work.items()}, runs=size.runs)
    took = {arm: own["median"] for arm, own in times.items()}
    theirs, steered = took["generate of Hugging Face"], took["generate, steered"]
    facts = {"seconds": times, "rows": ROWS, "new_tokens": size.new, "prompt_tokens": size.prompt}
    rate = round(ROWS * size.new / steered)
    ratios = {
        "steered generate / generate of Hugging Face": (">= 0.98", theirs / steered, 0.98),
        "generate of Hugging Face, steered / unsteered": (
            ">= 0.98", theirs / took["generate of Hugging Face, steered"], 0.98
        ),
        "steered generate / generate of TransformerLens": (
            ">= 1.8", took["generate of TransformerLens"] / steered, 1.8
        ),
    }  # fmt: skip
    out = {
        f"tokens/s of {title}, {name}": entry(goal, ratio, reached=ratio >= least)
        for title, (goal, ratio, least) in ratios.items()
    }
    out[f"tokens/s of steered generate / generate of Hugging Face, {name}"] |= {**facts, "tokens_per_second": rate}
    slower = took["generate, gated"] / steered
    out[f"time of gated / ungated steering, {name}"] = entry("<= 1.10", slower, reached=slower <= 1.10)
    return out


def main(words: list[str] | None = None) -> None:
    """Run the parts asked for and write what came out; the real model's only when it is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a size that means nothing; writes no results")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part (may be repeated)")
    options = parser.parse_args(words)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(machine())
    for name in options.only or [part for part in PARTS if part != "smollm2"]:
        found = bench(name, (SMALL if options.tiny else PARTS)[name])
        for title, own in found.items():
            print(f"{'ok  ' if own['reached'] else 'MISS'} {own['ratio']:<8} {own['goal']:<18} {title}", flush=True)
        if not options.tiny:
            record("steering", found)


if __name__ == "__main__":
    main()
