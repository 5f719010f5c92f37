"""The stage that reads each reference answer after each chain of thought, under both models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from probes.evidence import Evidence
from probes.latent.offsets import Decoder
from probes.samples.reflection import reflection
from probes.samples.reflection_reading import read_references
from probes.samples.repetition import first_statement
from probes.study.materials import Materials, first_samples
from probes.study.noted import note
from probes.tasks import Problem

PROBLEMS = 64
"""Problems whose references are read."""
CHAINS = 16
"""Chains of thought of each."""


def reflecting(materials: Materials) -> None:
    """Spread of the reference's log-probability over the base's chains, under the base and the tuned model."""
    config, folder = materials.config, materials.folder
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    asked = materials.problems[:PROBLEMS]
    chains = first_samples(materials.rollouts("base_samples"), CHAINS).subset([problem.id for problem in asked])
    reads = read_references(
        materials.pair, chains, references_of(materials, asked), cut=Cut(materials),
        progress=materials.tell("both models read the references"),
    )  # fmt: skip
    found = {side: reflection(own, **options) for side, own in reads.items()}
    folder.table("reflection", pd.concat([one.frame.assign(model=side) for side, one in found.items()]))
    folder.table("reflection_tokens", pd.concat([one.tokens.assign(model=side) for side, one in found.items()]))
    folder.figure("reflection", found["base"].plot())
    folder.json(
        "reflection",
        {"headline": found["base"].headline(), "problems": len(asked), "chains": min(CHAINS, config.samples)},
    )
    base = found["base"]
    note(
        folder,
        "reflection",
        Evidence(
            reflection_share=base.at("carrying"),
            reflection_least=float((1 / base.tokens.groupby("problem").size()).mean()),
            reflection_under_noise=base.at("carrying - noise"),
            reflection_gain=base.at("weighted - plain"),
        ),
    )


def references_of(materials: Materials, problems: Sequence[Problem]) -> dict[str, list[int]]:
    """Token ids of each problem's right answer."""
    tokenizer = materials.pair.base.tokenizer
    return {
        problem.id: [int(token) for token in tokenizer(reference(problem), add_special_tokens=False).input_ids]
        for problem in problems
    }


def reference(problem: Problem) -> str:
    """The right answer as it would be announced: in the organisms' words, or in a box."""
    return f"answer {problem.answer}." if problem.kind == "organism" else f" The answer is \\boxed{{{problem.answer}}}."


class Cut:
    """Where a sample's chain of thought ends; ends of sequence are no reasoning."""

    def __init__(self, materials: Materials) -> None:
        self.decoder, self.ends = Decoder(materials.pair.base.tokenizer), set(materials.pair.base.eos_ids)

    def __call__(self, ids: Sequence[int]) -> int:
        """How many ids stand before the first announcement of an answer."""
        count = len(ids)
        while count and ids[count - 1] in self.ends:
            count -= 1
        written = self.decoder(list(ids[:count]))
        at = first_statement(written.text)
        return count if at is None else int((written.starts < at).sum())
