"""The router by itself: gates, controls and steered arms on one pair, without the rest of a study.

Problems are split: what is fitted (probes, routers, vectors, budgets) is fitted on problems that nothing is measured
on. Everything written is kept and named by what made it, so the same call goes on where it stopped. What it does not
show: see :mod:`probes.routing`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hooks.direction import Direction
from hooks.generate import generate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.steer import Steering, steering
from probes import routing as router
from probes import tasks
from probes.routing.kept import kept
from probes.routing.specs import Spec, Workshop
from probes.routing.vector_training import DEPTH
from probes.tasks import Problem

Progress = Callable[[str, int, int], object]
Half = Literal["base", "rl"]


@dataclass(frozen=True)
class Fitting:
    """How much text is written on training problems, and how."""

    samples: int = 4
    """Sampled texts a training problem and model."""
    annotator: str = "auto"
    """Strategy labels, see :func:`probes.latent.strategies.annotate`."""
    dose: float = 1.0
    """Of one direction, in typical norms of the activation."""


class Routed:
    """One pair, its problems, and what is made from the training problems when it is asked for."""

    def __init__(
        self,
        pair: Pair,
        problems: Sequence[Problem],
        training: Sequence[Problem],
        *,
        folder: Path,
        decoding: dict[str, Any],
        fitting: Fitting | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Hold the materials.

        Args:
            pair: both models.
            problems: what arms are measured on.
            training: what everything is fitted on; none of them in ``problems``.
            folder: of texts and fitted things.
            decoding: ``n``, ``temperature``, ``max_new_tokens``, ``seed``, ``batch_size``, ``template``.
            fitting: of the training texts.
            progress: called with (what, done, in all).

        Raises:
            ValueError: a problem that is both measured and trained on.
        """
        both = {problem.id for problem in problems} & {problem.id for problem in training}
        if both:
            raise ValueError(f"problem {sorted(both)[0]!r} is both measured and trained on; give others to train on")
        self.pair, self.problems, self.training = pair, list(problems), list(training)
        self.folder, self.decoding, self.fitting = folder, decoding, fitting or Fitting()
        self.progress: Progress = progress or (lambda what, done, total: None)

    def run(
        self,
        gates: str | tuple[Spec, ...],
        *,
        controls: bool | Sequence[router.Control] = True,
        steered: Sequence[str] = (),
        n_boot: int = 2000,
    ) -> router.RouteResult:
        """Run all arms.

        Args:
            gates: see :mod:`probes.routing.specs`.
            controls: as for :func:`probes.routing.route`; a gate of random places gets none.
            steered: ``strategies`` (vectors trained on the RL model's texts), the name of a strategy (a direction from
                the base's texts), or the path of a saved direction.
            n_boot: draws of intervals.
        """
        made = self.workshop.gates(gates)
        chosen = [gate for gate in made if not gate.name.startswith("random")]
        push, vectors = self.pushes(steered)
        return router.route(
            self.pair, self.problems, base=self.ends("base"), rl=self.ends("rl"), gates=made, controls=controls,
            matched=chosen, steering=push, strategies=vectors, n_boot=n_boot, folder=self.folder / "texts",
            # A fixed draft: a length chosen by the clock could change the last digit of a divergence.
            draft=4, progress=self.progress, **self.decoding,
        )  # fmt: skip

    def ends(self, half: Half) -> Rollouts:
        """Graded texts of one model on the measured problems."""
        return self._written(half, half, self.problems, self.decoding)

    @cached_property
    def workshop(self) -> Workshop:
        """Makes gates, on both models' greedy texts of the training problems."""
        text = self._written("base", "base training", self.training, self._greedy)
        rl_text = self._written("rl", "rl training", self.training, self._greedy)
        return Workshop(self.pair, text, rl_text, router=self._router, seed=self._seed)

    def pushes(self, steered: Sequence[str]) -> tuple[Steering | None, router.StrategyVectors | None]:
        """What the steered arms are steered by.

        Raises:
            ValueError: two directions, or a strategy that the base's texts do not have.
        """
        single = [one for one in steered if one != "strategies"]
        if len(single) > 1:
            raise ValueError(f"one direction a run: {', '.join(single)} are {len(single)}")
        push = None
        if single:
            push = steering(self._direction(single[0]), self.fitting.dose, positions="generated", relative=True)
        return push, self.vectors if "strategies" in steered else None

    @cached_property
    def vectors(self) -> router.StrategyVectors:
        """Strategy vectors, from disk where they are."""
        from probes.latent.strategies import annotate

        path = self._fitted("strategy_vectors")
        if path.exists():
            return router.StrategyVectors.load(path)
        texts = self._written("rl", "rl samples", self.training, self._sampled)
        spans = annotate(texts, self.fitting.annotator, tokenizer=self.pair.base.tokenizer)
        found = router.strategy_vectors(
            self.pair, texts, spans.frame, seed=self._seed,
            progress=lambda done, total: self.progress("strategy vectors", done, total),
        )  # fmt: skip
        found.save(path)
        return found

    def _router(self) -> router.Gate:
        path = self._fitted("learned_router")
        if path.exists():
            return router.LearnedRouter.load(path, self.pair).gate()
        texts = self._written("rl", "rl training", self.training, self._greedy)
        options = {name: value for name, value in self._greedy.items() if name not in ("n", "temperature", "seed")}
        labels = router.critical_places(
            self.pair, self.training, texts, seed=self._seed,
            progress=lambda done, total: self.progress("places tried", done, total), **options,
        )  # fmt: skip
        found = router.learn_router(self.pair, texts, labels, seed=self._seed)
        found.save(path)
        return found.gate()

    def _direction(self, asked: str) -> Direction:
        if asked.endswith(".safetensors"):
            return Direction.load(asked)
        from probes.study.pointing import pointers

        texts = self._written("base", "base samples", self.training, self._sampled)
        layer = int(DEPTH * self.pair.base.n_layers)
        return pointers(self.pair.base, texts, asked, [layer], annotator=self.fitting.annotator, seed=self._seed)[0]

    def _fitted(self, name: str) -> Path:
        """Where something fitted is kept: named by all that it was fitted on."""
        counted = {key: value for key, value in self._greedy.items() if key != "batch_size"}
        told = [self.pair.base.weights_hash, self.pair.rl.weights_hash, [one.id for one in self.training], counted]
        text = json.dumps([told, asdict(self.fitting)], sort_keys=True, default=str)
        return self.folder / "fitted" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"

    @property
    def _seed(self) -> int:
        return int(self.decoding["seed"])

    @property
    def _greedy(self) -> dict[str, Any]:
        return {**self.decoding, "n": 1, "temperature": 0.0}

    @property
    def _sampled(self) -> dict[str, Any]:
        return {**self.decoding, "n": self.fitting.samples, "temperature": 1.0}

    def _written(self, half: Half, name: str, problems: Sequence[Problem], decoding: dict[str, Any]) -> Rollouts:
        model = self.pair.base if half == "base" else self.pair.rl

        def write() -> Rollouts:
            texts = generate(model, problems, progress=lambda done, total: self.progress(name, done, total), **decoding)
            return tasks.grade(texts, problems)

        counted = {key: value for key, value in decoding.items() if key != "batch_size"}
        return kept(self.folder / "texts", name, write, pair=self.pair, problems=problems, told=[counted])


def problems_for(source: str, n: int, training: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Problems to measure on and others to train on: the first ``n`` of one draw, and the rest of it.

    Raises:
        ValueError: where the source has too few of them.
    """
    found = tasks.load(source, n=n + training, seed=seed)
    return found[:n], found[n:]
