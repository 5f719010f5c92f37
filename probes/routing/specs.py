"""Gates by name, as a command line or a configuration gives them: ``js:0.05/0.1,entropy:5%,probe,random``.

A word is a gate's name, behind a colon one number or several, joined by slashes; each number makes a gate of its own. A
number is the gate's threshold in its own unit (nats for js, kl and entropy, probability for margin, log-odds for probe
and learned), the rate of ``random``, k of ``first_k``, n of ``every_n``. With a percent sign it is a budget: the share
of the places of the base's texts that the gate may open on. Without a number js and kl get their published thresholds,
``first_k`` 1, ``every_n`` 10, ``learned`` the threshold of its recall, and entropy, margin, probe and random the
budget at which ``js > 0.1`` opens on the RL model's texts, so that gates given by name alone compare.

What it does not show: the share that a gate opens on once it writes; results carry it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from hooks.gate import Gate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.routing.fitted import PartingProbe, parting_probe
from probes.routing.gates import (
    budgeted,
    disagreement,
    entropy,
    every_n,
    first_k,
    js,
    kl,
    margin,
    place_scores,
    random,
)

NAMES = (
    "js", "kl", "disagreement", "entropy", "margin", "probe", "learned", "random", "first_k", "every_n",
)  # fmt: skip
"""Gates that have a name on a command line."""
SCORED: dict[str, Callable[..., Gate]] = {"js": js, "kl": kl, "entropy": entropy, "margin": margin}
COUNTED: dict[str, tuple[Callable[[int], Gate], int]] = {"first_k": (first_k, 1), "every_n": (every_n, 10)}


@dataclass(frozen=True)
class Spec:
    """One gate asked for."""

    name: str
    """One of :data:`NAMES`."""
    number: float | None = None
    """Threshold, rate, count, or budget as a share; None for the default."""
    budget: bool = False
    """Whether the number is a budget."""


def parse_gates(text: str) -> tuple[Spec, ...]:
    """Read ``js:0.05/0.1,entropy:5%,probe``.

    Raises:
        ValueError: nothing asked for, an unknown gate, or a number that is none or makes no sense there.
    """
    out: list[Spec] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, numbers = word.partition(":")
        if name not in NAMES:
            raise ValueError(f"there is no gate {name!r}; there are {', '.join(NAMES)}")
        out += [_spec(name, number, word) for number in numbers.split("/")] if numbers else [Spec(name)]
    if not out:
        raise ValueError("name at least one gate, such as js:0.1")
    return tuple(dict.fromkeys(out))


def _spec(name: str, number: str, word: str) -> Spec:
    share = number.endswith("%")
    try:
        value = float(number.removesuffix("%"))
    except ValueError:
        raise ValueError(f"{number!r} in {word!r} is no number; write {name}:0.1 or {name}:5%") from None
    if name == "disagreement" or (share and name in COUNTED):
        raise ValueError(f"{word!r}: {name} has no {'budget' if share else 'threshold'}")
    if name in COUNTED and (value != int(value) or value < 0):
        raise ValueError(f"{word!r}: {name} counts places and needs a whole number")
    if share and not 0 <= value <= 100:
        raise ValueError(f"{word!r}: a budget is a share of places, from 0% to 100%")
    return Spec(name, value / 100 if share else value, share)


class Workshop:
    """Makes gates from specs; what several of them need is made once."""

    def __init__(
        self,
        pair: Pair,
        text: Rollouts,
        rl_text: Rollouts | None = None,
        *,
        router: Callable[[], Gate] | None = None,
        site: str | None = None,
        beyond: float = 0.1,
        seed: int = 0,
    ) -> None:
        """Hold what budgets and fits are taken from.

        Args:
            pair: whose models read.
            text: of the base, on problems that nothing is measured on; budgets hold there.
            rl_text: of the RL model on the same problems, where the usual budget is counted; ``text`` without it.
            router: trains or loads the gate ``learned``.
            site: where a probe reads the base; half its depth by default.
            beyond: JS that counts as parting.
            seed: of folds and draws.
        """
        self.pair, self.text, self.rl_text, self.router = pair, text, rl_text or text, router
        self.site, self.beyond, self.seed = site, beyond, seed

    @cached_property
    def share(self) -> float:
        """Share of the RL text's places at which JS exceeds the published threshold: the usual budget."""
        return float(place_scores(js(self.beyond), self.pair, self.rl_text)["open"].mean())

    @cached_property
    def probe(self) -> PartingProbe:
        """The probe for places where the models part."""
        return parting_probe(self.pair, self.text, site=self.site, beyond=self.beyond, seed=self.seed)

    @cached_property
    def learned(self) -> Gate:
        """The learned router's gate.

        Raises:
            ValueError: when nobody said how to come by one.
        """
        if self.router is None:
            raise ValueError("the gate 'learned' needs a trained router; give one")
        return self.router()

    def gate(self, spec: Spec) -> Gate:
        """The gate that a spec asks for."""
        if spec.name in COUNTED:
            make, usual = COUNTED[spec.name]
            return make(usual if spec.number is None else int(spec.number))
        if spec.name == "disagreement":
            return disagreement()
        if spec.name == "random":
            return random(self.share if spec.number is None else spec.number)
        if spec.name in ("js", "kl") and spec.number is None:
            return SCORED[spec.name]()
        if spec.name == "learned" and spec.number is None:
            return self.learned
        plain = self._plain(spec.name)
        if spec.number is not None and not spec.budget:
            # margin's own number is a difference of probabilities, and its score one minus that.
            return replace(plain, threshold=1.0 - spec.number if spec.name == "margin" else spec.number)
        return budgeted(
            plain, self.share if spec.number is None else spec.number, pair=self.pair, text=self.text, seed=self.seed
        )

    def gates(self, specs: str | tuple[Spec, ...]) -> list[Gate]:
        """All gates asked for, in order."""
        return [self.gate(spec) for spec in (parse_gates(specs) if isinstance(specs, str) else specs)]

    def _plain(self, name: str) -> Gate:
        """A gate whose own threshold does not count."""
        if name == "probe":
            return self.probe.gate
        return self.learned if name == "learned" else SCORED[name]()
