"""A router that never asks the RL model: from the base's state at a place, does the RL model have to write here?

Input after R2R (arXiv 2505.21600): the base's last hidden state, the embedding of its most probable token, and its
highest logits (100). A small residual network gives the log-odds that the place is critical: that taking the base's
token there instead of the RL model's changes the outcome (:mod:`probes.routing.critical`). Places where both models
would write the same are never critical; some of them are in training, since a gate meets them too.

Problems are split in three: trained on; validation, which stops the training and sets the threshold; held out, on
which AUROC is measured. As a gate it needs the base alone.

What it does not show: that the labels are right away from the RL model's greedy texts, where they were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks.gate import Gate, Sight, never
from hooks.pair import Pair
from hooks.rollouts import Rollouts, write_whole
from hooks.streams import stream
from probes.routing.network import Fit, RouterNetwork, fit_network
from probes.routing.sights import sights
from probes.routing.vectors import read_artifact
from probes.stats import Estimate, auroc_interval

FORMAT = "whenlens.learned_router"
VERSION = 1
TOP = 100
"""Highest logits that the router sees."""


@dataclass(frozen=True, eq=False)
class LearnedRouter:
    """A trained router: its network, its threshold, what it is worth."""

    network: RouterNetwork
    """From features to log-odds; standardises its input itself."""
    embedding: Float[Tensor, "vocab d_model"]
    """The base's token embeddings, of which the top token's is a feature; taken from the base, not stored."""
    threshold: float
    """Log-odds above which the gate opens."""
    weights_hash: str = ""
    """Of the base it was trained on."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """AUROC on held-out problems (``auroc`` over all places, ``auroc parting`` over those where the models part), with
    ``low`` and ``high``, and counts."""
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A row an epoch: loss in training and validation."""

    def gate(self, threshold: float | None = None) -> Gate:
        """The router as a gate that looks at the base alone."""

        @torch.no_grad()
        def score(sight: Sight) -> Float[Tensor, "position"]:
            seen: Tensor = self.network(features(sight, self.embedding).float())
            return seen

        return Gate("learned", "primary", score, self.threshold if threshold is None else threshold, True)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file with a JSON header, whole or not at all, and return its path."""
        from safetensors.torch import save_file

        told = {
            "version": VERSION, "shape": self.network.shape, "threshold": self.threshold,
            "weights_hash": self.weights_hash, "scores": dict(self.scores), "history": self.history.to_dict("list"),
        }  # fmt: skip
        tensors = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        return write_whole(Path(path), lambda file: save_file(tensors, file, metadata={FORMAT: json.dumps(told)}))

    @classmethod
    def load(cls, path: str | Path, pair: Pair) -> LearnedRouter:
        """Read what :meth:`save` wrote, for the base that it was trained on.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: where the file holds something else, or was trained on another base.
        """
        told, tensors = read_artifact(path, FORMAT, VERSION)
        if told["weights_hash"] != pair.base.weights_hash:
            raise ValueError(f"the router in {path} was trained on another base than {pair.base.name}")
        network = RouterNetwork(**told["shape"])
        network.load_state_dict(tensors)
        return cls(
            network.eval(), embedding_of(pair), told["threshold"], told["weights_hash"], told["scores"],
            pd.DataFrame(told["history"]),
        )  # fmt: skip

    def __str__(self) -> str:
        said = ", ".join(f"{name} {value:.3g}" for name, value in self.scores.items())
        return f"learned router, open above {self.threshold:.3g}: {said}; one run"


def learned(path: str | Path, pair: Pair, *, threshold: float | None = None) -> Gate:
    """The gate of a router on disk.

    Raises:
        FileNotFoundError, ValueError: as :meth:`LearnedRouter.load`.
    """
    return LearnedRouter.load(path, pair).gate(threshold)


def learn_router(
    pair: Pair,
    rl: Rollouts,
    labels: pd.DataFrame,
    *,
    recall: float = 0.95,
    budget: float | None = None,
    agreeing: float = 4.0,
    width: int = 128,
    blocks: int = 2,
    epochs: int = 200,
    patience: int = 20,
    lr: float = 1e-3,
    n_boot: int = 500,
    seed: int = 0,
) -> LearnedRouter:
    """Train a router on labelled places along the RL model's texts.

    Args:
        pair: whose base reads the texts.
        rl: the texts that the labels belong to.
        labels: of :func:`probes.routing.critical_places`.
        recall: share of the validation problems' critical places that the threshold has to open on.
        budget: instead, the share of all places of the validation texts that it may open on.
        agreeing: places where the models agree, for each labelled one; the share of them kept in training.
        width: of the network.
        blocks: residual ones.
        epochs: at most.
        patience: epochs without a better validation loss.
        lr: step (AdamW).
        n_boot: draws of the AUROC's interval.
        seed: of the split, of the places drawn, of the start.

    Raises:
        ValueError: labels of one kind, or too few problems to split in three.

    It does not show what the router recovers; run :func:`probes.routing.route` with its gate.
    """
    looks = replace(never(), needs="primary", hidden=True)
    embedding = embedding_of(pair)
    rows, tables = [], []
    for sight, table in sights(looks, pair, rl):
        rows.append(features(sight, embedding).float().cpu())
        tables.append(table)
    if not rows:
        raise ValueError("there is no place to train a router on; give texts that are not empty")
    known = pd.concat(tables, ignore_index=True).assign(problem=lambda one: one["problem"].astype(str))
    known = known.merge(labels[["problem", "index", "critical"]], on=["problem", "index"], how="left")
    parting = known["critical"].notna().to_numpy()
    critical = known["critical"].fillna(False).to_numpy(dtype=bool)
    part = split(known["problem"].to_numpy(dtype=str), seed)
    if not all(critical[(part == name)].any() for name in ("train", "validation", "held out")):
        raise ValueError(
            f"{int(critical.sum())} critical places are too few to train, validate and test on; give more problems"
        )
    wanted = min(len(known), int(parting.sum() * agreeing) + 1)
    kept = parting.copy()
    kept[stream(seed, "agreeing places").permutation(len(known))[:wanted]] = True
    # Training sees a share of the places where the models agree; thresholds and AUROC are over all places.
    inputs = torch.cat(rows)
    data = {name: (part == name) & kept for name in ("train", "validation")}
    fit = fit_network(
        inputs[data["train"]], critical[data["train"]], inputs[data["validation"]], critical[data["validation"]],
        width=width, blocks=blocks, epochs=epochs, patience=patience, lr=lr, seed=seed,
    )  # fmt: skip
    with torch.no_grad():
        scores = fit.network(inputs).numpy().astype(float)
    valid, out = part == "validation", part == "held out"
    threshold = threshold_for(scores[valid], critical[valid], recall=recall, budget=budget)
    return LearnedRouter(
        fit.network, embedding, threshold, pair.base.weights_hash,
        _worth(fit, scores, critical, parting, out, known["problem"].to_numpy(dtype=str), threshold, n_boot, seed),
        fit.history,
    )  # fmt: skip


def threshold_for(
    scores: Float[np.ndarray, "place"],
    critical: Bool[np.ndarray, "place"],
    *,
    recall: float = 0.95,
    budget: float | None = None,
) -> float:
    """The threshold that opens on a share ``recall`` of critical places, or on at most ``budget`` of all.

    Raises:
        ValueError: a recall outside (0, 1], no critical place, or a budget outside [0, 1].
    """
    from probes.routing.gates import threshold_at

    if budget is not None:
        return threshold_at(scores, budget)
    if not 0 < recall <= 1 or not critical.any():
        raise ValueError(f"a recall is a share of critical places above 0, not {recall}, and there have to be some")
    ranked = np.sort(scores[critical])[::-1]
    # A gate opens above its threshold, so that the last place wanted has to lie above it.
    return float(np.nextafter(ranked[int(np.ceil(recall * len(ranked))) - 1], -np.inf))


def _worth(
    fit: Fit,
    scores: Float[np.ndarray, "place"],
    critical: Bool[np.ndarray, "place"],
    parting: Bool[np.ndarray, "place"],
    out: Bool[np.ndarray, "place"],
    problems: np.ndarray,
    threshold: float,
    n_boot: int,
    seed: int,
) -> dict[str, float]:
    def area(rows: Bool[np.ndarray, "place"]) -> Estimate:
        return auroc_interval(scores[rows], critical[rows], problems[rows], n_boot=n_boot, seed=seed)

    every, apart = area(out), area(out & parting)
    opened = scores[out] > threshold
    return {
        "auroc": every.value, "low": every.low, "high": every.high,
        "auroc parting": apart.value, "parting low": apart.low, "parting high": apart.high,
        "recall": float(opened[critical[out]].mean()), "open": float(opened.mean()),
        "critical": float(critical.sum()), "parting": float(parting.sum()), "epochs": float(len(fit.history)),
    }  # fmt: skip


def split(problems: np.ndarray, seed: int) -> np.ndarray:
    """``train``, ``validation`` or ``held out`` for each row: three, one and one fifths of the problems."""
    named = np.unique(problems)
    order = stream(seed, "router split").permutation(len(named))
    kinds = np.array(["train", "train", "train", "validation", "held out"])
    of = dict(zip(named[order], kinds[np.arange(len(named)) % 5], strict=True))
    return np.array([of[problem] for problem in problems])


def features(sight: Sight, embedding: Float[Tensor, "vocab d_model"]) -> Float[Tensor, "position feature"]:
    """Last hidden state, embedding of the most probable token, highest logits in descending order.

    Raises:
        ValueError: for a sight without an activation.
    """
    if sight.hidden is None:
        raise ValueError("a learned router reads the base's last hidden state, which was not shown to it")
    logits = sight.primary_logits
    top = logits.topk(min(TOP, logits.shape[-1]), dim=-1).values
    said = embedding.to(sight.hidden.device)[logits.argmax(-1)]
    return torch.cat([sight.hidden, said.to(sight.hidden), top.to(sight.hidden)], dim=-1)


def embedding_of(pair: Pair) -> Float[Tensor, "vocab d_model"]:
    """The base's token embeddings."""
    found: nn.Embedding = pair.base.net.get_input_embeddings()  # type: ignore[assignment]
    return found.weight.detach()
