"""Stages that write: the pair's check, the rollouts of both models, the strategies their texts use."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hooks.generate import generate
from hooks.model import Model
from hooks.rollouts import Rollouts
from probes.latent.strategies import Spans, annotate
from probes.stats import bootstrap_problems
from probes.study.materials import Materials, Progress, first_samples
from probes.tasks import Problem


def pair(materials: Materials) -> None:
    """Check the two models against each other and write down what differs."""
    both = materials.pair
    materials.folder.json(
        "pair",
        {
            "text": str(both),
            "differences": both.differences.to_dict("records"),
            "shared_fraction": both.shared_bytes_fraction,
        },
    )


def rollouts(materials: Materials) -> None:
    """Greedy and sampled texts of both models on the same prompts, graded."""
    config = materials.config
    for model in (materials.pair.base, materials.pair.rl):
        role = str(model.role)

        def greedy(some: Sequence[Problem], move: Progress, model: Model = model) -> Rollouts:
            return generate(model, some, progress=move, **materials.settings())

        def sampled(some: Sequence[Problem], move: Progress, model: Model = model) -> Rollouts:
            settings = materials.settings(temperature=config.temperature, top_p=config.top_p, n=config.samples)
            return generate(model, some, progress=move, **settings)

        materials.keep(f"{role}_greedy", greedy)
        materials.keep(f"{role}_samples", sampled, n=config.samples)
        if config.templates:
            for template in ("none", "chat"):

                def templated(
                    some: Sequence[Problem], move: Progress, model: Model = model, template: str = template
                ) -> Rollouts:
                    return generate(model, some, progress=move, **materials.settings(template=template))

                materials.keep(f"{role}_greedy_{template}", templated)
    if config.templates:
        materials.folder.table("templates", _templates(materials))


def _templates(materials: Materials) -> pd.DataFrame:
    """The 2 x 2 of prompt templates and models."""
    rows = []
    for role in ("base", "rl"):
        for template in ("none", "chat"):
            frame = materials.rollouts(f"{role}_greedy_{template}").frame
            found = bootstrap_problems(
                frame["correct"], frame["problem"], n_boot=materials.config.n_boot, seed=materials.config.seed
            )
            rows.append(
                {"model": role, "template": template, "accuracy": found.value, "low": found.low, "high": found.high}
            )
    return pd.DataFrame(rows)


def spans_of(materials: Materials, name: str) -> Spans:
    """Labelled spans of some rollouts, from disk where they are."""
    path = materials.folder.root / "results" / f"spans_{name}.parquet"
    if not path.exists():
        chosen = first_samples(materials.rollouts(name), materials.config.probe_samples)
        labelled = annotate(chosen, materials.config.annotator, tokenizer=materials.pair.base.tokenizer)
        materials.folder.table(f"spans_{name}", labelled.frame)
    return Spans(materials.folder.read(f"spans_{name}"))


def strategies(materials: Materials) -> None:
    """Label strategies in the samples of both models, and count them."""
    rows = []
    for role in ("base", "rl"):
        spans = spans_of(materials, f"{role}_samples").frame
        texts = first_samples(materials.rollouts(f"{role}_samples"), materials.config.probe_samples).frame
        for strategy in sorted(spans["strategy"].unique()):
            found = spans[spans["strategy"] == strategy]
            using = found.drop_duplicates(["problem", "sample"])
            rows.append(
                {
                    "model": role,
                    "strategy": strategy,
                    "per_text": len(found) / len(texts),
                    "share": len(using) / len(texts),
                }
            )
    materials.folder.table("strategies", pd.DataFrame(rows, columns=["model", "strategy", "per_text", "share"]))
