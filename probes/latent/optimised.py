r"""A steering vector trained by gradient: what makes the base itself find the strategy's tokens likely?

With ``h`` the activation at a site and ``T`` the tokens of the strategy's spans, over the problems set aside for
training,

    v = argmin of the mean over T of -log p(token | text so far; h + v at the places of T)

for a frozen model, without a bias vector (Venhoff et al. 2025, arXiv 2510.07364, as in the protocol of their later
version).  ``v`` starts as a random vector of norm 1; Adam with a rate of 1e-2 that falls to 0 along a cosine; kept is
the vector with the lowest loss on a second set of problems, and training ends after ten epochs without a better one.

Three sets of problems keep three jobs apart: training, choosing when to stop, and the scores, which are all from the
third.  ``gain`` is the fall of the loss against no vector, nats a token, with its interval over problems; beside it
stand random vectors of the same norm at the same places, and ``p`` counts how many of them do as well.  On texts that
the model sampled itself, and places that mean nothing, no vector gains anything in expectation.

The vector is added where a token of the strategy is *chosen*, one place before it (``places="choices"``); their code
adds it at the tokens' own places (``places="tokens"``), where the first token of a span is not reached.

What it does not show: that the model uses this direction, or that text written under it does what the strategy does; a
trained vector can raise the likelihood of a few common tokens and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.direction import Direction
from hooks.model import Model
from hooks.packing import pad_right
from hooks.rollouts import Rollouts
from hooks.sites import Site
from hooks.steer import act
from hooks.streams import stream
from probes.latent.origins import source_of
from probes.latent.placebos import random_like
from probes.latent.spans import KEY, Spans
from probes.stats import Estimate, bootstrap_problems

Places = Literal["choices", "tokens"]
TESTED, STOPPING = 0.25, 0.15
"""Shares of the problems that score the vector, and that say when to stop."""


@dataclass(frozen=True)
class Target:
    """One text and the tokens in it that are to become likely."""

    problem: str
    ids: Int[np.ndarray, "pos"]
    """Prompt and completion, up to the last wanted token."""
    at: Int[np.ndarray, "wanted"]
    """Positions of the wanted tokens in ``ids``; none is 0."""


def targets_of(rollouts: Rollouts, spans: Spans, strategy: str) -> list[Target]:
    """The texts that have spans of a strategy, with those spans' tokens.

    Raises:
        ValueError: when no text has one.
    """
    own = spans.frame[spans.frame["strategy"] == strategy]
    places = {tuple(key): found for key, found in own.groupby(KEY, sort=False)}
    out = []
    for key, (ids, n_prompt) in zip(rollouts.frame[KEY].itertuples(index=False), rollouts.sequences(), strict=True):
        found = places.get(tuple(key))
        if found is None:
            continue
        at = np.concatenate([n_prompt + np.arange(a, b) for a, b in zip(found["start"], found["stop"], strict=True)])
        at = at[(at > 0) & (at < len(ids))]
        if len(at):
            out.append(Target(str(key[0]), np.asarray(ids[: int(at.max()) + 1], dtype=np.int64), at))
    if not out:
        known = ", ".join(sorted(spans.frame["strategy"].unique()))
        raise ValueError(f"no text has a span of {strategy!r}; there are {known}")
    return out


def optimised(
    model: Model,
    rollouts: Rollouts,
    spans: Spans,
    *,
    strategy: str,
    site: str | Site,
    places: Places = "choices",
    rate: float = 1e-2,
    epochs: int = 50,
    patience: int = 10,
    min_delta: float = 1e-3,
    batch: int = 4,
    n_random: int = 20,
    n_boot: int = 1000,
    origin: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Direction:
    """Train a vector at a site of a frozen model towards the tokens of a strategy.

    Args:
        model: whose likelihood is raised; its weights stay as they are.
        rollouts: the texts, of any author.
        spans: what the texts do, see :func:`probes.latent.strategies.annotate`; categories of a taxonomy serve too.
        strategy: whose spans.
        site: of the residual stream, or an output of attention or MLP.
        places: where the vector is added, see above.
        rate: Adam's, at the start of the cosine.
        epochs: passes over the training texts, at most.
        patience: epochs without a loss lower by ``min_delta`` on the stopping problems after which training ends.
        min_delta: see there.
        batch: texts a step.
        n_random: random vectors of the same norm.
        n_boot: bootstrap draws over problems.
        origin: whose activations on whose text; from the model's role and the texts' authors by default.
        seed: names the random streams of the split, the start, the batches and the random vectors.
        progress: called with (epochs done, epochs at most).

    Returns:
        the vector as a Direction of kind "optimised"; its scores are ``gain``, ``gain_low``, ``gain_high``,
        ``gain_random`` (mean), ``p``, ``loss`` and ``loss_unsteered`` on the scoring problems, ``loss_start`` under the
        vector that training began with, ``epochs``, and how many problems took which part.

    Raises:
        ValueError: no span of the strategy, or fewer than three problems with one.

    It does not show that the model uses the direction.
    """
    if places not in ("choices", "tokens"):
        raise ValueError(f"places is 'choices' or 'tokens', not {places!r}")
    where = Site.parse(str(site))
    targets = targets_of(rollouts, spans, strategy)
    trained, stopping, tested = _split(targets, seed)
    reader = _Reader(model, where, places, batch)
    drawn = stream(seed, "optimised", str(where), strategy, "start").standard_normal(model.d_model)
    start = torch.from_numpy(drawn / np.linalg.norm(drawn)).float()
    vector, n_epochs = _train(reader, trained, stopping, start, rate, epochs, patience, min_delta, seed, progress)
    source = source_of(None, model, rollouts)
    digest = hashlib.sha256(str((strategy, places)).encode())
    for one in targets:
        digest.update(one.ids.tobytes() + one.at.tobytes())
    found = Direction(
        vector, where, kind="optimised", model=source.model, revision=source.revision, weights_hash=source.weights,
        origin=origin if origin is not None else source.origin(), label=strategy,
        typical_norm=reader.typical_norm(trained), data_hash=digest.hexdigest()[:16],
    )  # fmt: skip
    scores = _scores(reader, tested, found, start, n_random, n_boot, seed)
    counts = {"epochs": n_epochs, "problems_trained": _problems(trained), "problems_stopping": _problems(stopping),
              "problems_tested": _problems(tested)}  # fmt: skip
    return replace(found, scores={**scores, **{name: float(count) for name, count in counts.items()}})


class _Reader:
    """Losses of the wanted tokens under a vector."""

    def __init__(self, model: Model, site: Site, places: Places, batch: int) -> None:
        self.model, self.site, self.batch = model, site, batch
        self.shift = 1 if places == "choices" else 0

    def losses(self, texts: Sequence[Target], vector: Tensor | None) -> Float[Tensor, "wanted"]:
        """Of each wanted token of these texts, read as one batch."""
        # The last token is wanted and nothing is wanted behind it, so it need not be read.
        ids = pad_right([text.ids for text in texts], self.model.pad_id)
        width = ids.shape[1]
        chosen = torch.zeros(ids.shape, dtype=torch.bool)
        for row, text in enumerate(texts):
            chosen[row, torch.from_numpy(text.at - self.shift)] = True
        chosen = chosen.to(self.model.device)

        def add(_: Site, hidden: Tensor) -> Tensor | None:
            return None if vector is None else act("add", hidden, vector.to(hidden.device), 1.0, chosen)

        with self.model.watch(self.site, add):
            hidden = self.model.backbone(ids.to(self.model.device))
        flat = np.concatenate([row * width + text.at - 1 for row, text in enumerate(texts)])
        wanted = torch.from_numpy(np.concatenate([text.ids[text.at] for text in texts])).to(self.model.device)
        read = hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(flat).to(hidden.device)]
        return torch.nn.functional.cross_entropy(self.model.unembed(read).float(), wanted, reduction="none")

    @torch.no_grad()
    def by_problem(
        self, texts: Sequence[Target], vector: Tensor | None
    ) -> tuple[Float[np.ndarray, "wanted"], list[str]]:
        """The loss of every wanted token, and its problem."""
        losses = [self.losses(part, vector).cpu().numpy() for part in _batches(texts, self.batch)]
        return np.concatenate(losses), [text.problem for text in texts for _ in text.at]

    @torch.no_grad()
    def typical_norm(self, texts: Sequence[Target]) -> float:
        """Median norm of the activation where the vector is added."""
        norms: list[Tensor] = []
        for text in texts:
            at = torch.from_numpy(text.at - self.shift)

            def note(_: Site, hidden: Tensor, at: Tensor = at) -> None:
                norms.append(hidden[0, at.to(hidden.device)].float().norm(dim=-1).cpu())

            with self.model.watch(self.site, note):
                self.model.backbone(torch.from_numpy(text.ids)[None].to(self.model.device))
        return float(torch.cat(norms).median())


def _split(targets: list[Target], seed: int) -> tuple[list[Target], list[Target], list[Target]]:
    """Texts for training, for stopping and for the scores, whole problems at a time."""
    names = sorted({target.problem for target in targets})
    if len(names) < 3:
        raise ValueError(
            f"{len(names)} problems have a span of the strategy; 3 are needed, to train, to stop and to score"
        )
    order = [names[at] for at in stream(seed, "optimised", "split").permutation(len(names))]
    tested, stopping = max(1, round(TESTED * len(names))), max(1, round(STOPPING * len(names)))
    parts = (order[tested + stopping :], order[tested : tested + stopping], order[:tested])
    first, second, third = ([target for target in targets if target.problem in set(part)] for part in parts)
    return first, second, third


def _train(
    reader: _Reader,
    trained: list[Target],
    stopping: list[Target],
    start: Float[Tensor, "d_model"],
    rate: float,
    epochs: int,
    patience: int,
    min_delta: float,
    seed: int,
    progress: Callable[[int, int], object] | None,
) -> tuple[Float[Tensor, "d_model"], int]:
    """The vector with the lowest loss on the stopping problems, and the epochs that were run."""
    vector = start.to(reader.model.device, copy=True).requires_grad_()
    optimiser = torch.optim.Adam([vector], lr=rate)
    steps = epochs * -(-len(trained) // reader.batch)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, steps))
    best, kept, since = float(reader.by_problem(stopping, start)[0].mean()), start, 0
    epoch = 0
    while epoch < epochs and since < patience:
        order = stream(seed, "optimised", "order", epoch).permutation(len(trained))
        for part in _batches([trained[at] for at in order], reader.batch):
            optimiser.zero_grad()
            reader.losses(part, vector).mean().backward()
            optimiser.step()
            cosine.step()
        epoch += 1
        loss = float(reader.by_problem(stopping, vector.detach())[0].mean())
        since = 0 if loss < best - min_delta else since + 1
        if loss < best:
            best, kept = loss, vector.detach().clone()
        if progress is not None:
            progress(epoch, epochs)
    return kept.cpu(), epoch


def _scores(
    reader: _Reader,
    tested: list[Target],
    found: Direction,
    start: Float[Tensor, "d_model"],
    n_random: int,
    n_boot: int,
    seed: int,
) -> dict[str, float | str | None]:
    """The fall of the loss on problems that took no part in training, beside random vectors."""
    plain, problems = reader.by_problem(tested, None)

    def gain(vector: Tensor) -> Estimate:
        return bootstrap_problems(plain - reader.by_problem(tested, vector)[0], problems, n_boot=n_boot, seed=seed)

    own = gain(found.vector)
    random = np.array([gain(random_like(found, seed=seed, number=at).vector).value for at in range(n_random)])
    losses = {"loss_unsteered": None, "loss_start": start, "loss": found.vector}
    return {
        "gain": own.value, "gain_low": own.low, "gain_high": own.high,
        "gain_random": float(random.mean()) if n_random else None,
        "p": float((1 + (random >= own.value).sum()) / (1 + n_random)) if n_random else None,
        **{name: float(reader.by_problem(tested, one)[0].mean()) for name, one in losses.items()},
    }  # fmt: skip


def _batches(texts: Sequence[Target], size: int) -> Iterator[Sequence[Target]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _problems(texts: Sequence[Target]) -> int:
    return len({text.problem for text in texts})
