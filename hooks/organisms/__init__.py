"""Small base→RL pairs that ship with the package, with known answers.

``organism:latent`` names a pair, ``organism:latent:rl-seed1`` one of its members; ``organism:smollm2`` is a real
language model, whose adapters ship and whose base is fetched once.  What this does not show: a measure
that finds the truth here may still fail on a model ten thousand times the size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "organism:"
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Organism:
    """A shipped pair: what is true of it, and where its members lie."""

    name: str
    truth: str
    """What a measure has to find."""
    base: str
    """Folder of the base, relative to the weights."""
    rl: str
    """Folder of the tuned model."""
    problems: tuple[str, ...] = ("standard",)
    """Sets of :data:`hooks.organisms.problems.PROBLEMS` it is asked; the first unless another is named."""
    fetched: bool = False
    """Whether the base is too large to ship and lies in the user's cache; the other members are then adapters."""
    study: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a study that fit this organism, where they are not those of the small ones."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names that may follow ``organism:NAME:``."""
        folder = WEIGHTS / self.name
        own = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        return tuple(dict.fromkeys(["base", *own]))

    def manifest(self, member: str) -> dict[str, Any]:
        """How a member was trained: method, seed, mixture, steps, curve; of a fetched base, where it comes from."""
        if self.fetched and member == "base":
            from hooks.organisms.fetched import FILE, PACKAGE, SHA256, VERSION

            return {"method": f"fetched ({PACKAGE} {VERSION}, {FILE})", "start": None, "sha256": SHA256}
        return dict(json.loads((resolve(f"{PREFIX}{self.name}:{member}") / "training.json").read_text()))


ORGANISMS: dict[str, Organism] = {
    organism.name: organism
    for organism in (
        Organism(
            "latent", "every strategy is in the base at a low frequency; RL only chooses it", "latent/base", "latent/rl"
        ),
        Organism(
            "newskill", "the base never saw a worked step; the tuned model learned them", "newskill/base", "newskill/rl"
        ),
        Organism("sham", "a random reward: there is no gain to explain", "latent/base", "sham/rl"),
        Organism(
            "hard",
            "RL on too-hard problems taught bare answers: length collapses and problems solved before are lost; "
            "RL on medium ones (member medium) raises accuracy without shortcuts",
            "hard/base",
            "hard/rl",
            ("standard", "hard", "medium", "sums"),
        ),
        Organism(
            "calibrated",
            "a Brier term in the reward calibrates the stated confidence; a binary reward (member rlvr) leaves it high",
            "calibrated/base",
            "calibrated/rl",
            ("mental",),
        ),
        Organism(
            "domains",
            "order matters (said after looking): a then b forgets a (accuracy on a 0.37, 0.70, 0.31; on b 0.44, 0.40, "
            "0.85), b then a keeps both (0.37, 0.41, 0.74; 0.44, 0.78, 0.80), as joint training does (0.66; 0.83)",
            "domains/base",
            "domains/ab",
            ("both", "sums", "single"),
        ),
        Organism(
            "race",
            "of two formats at even odds, the one that pays more at the start (code) wins in both sizes; in the large "
            "one more slowly, since there the other becomes as right",
            "race/base",
            "race/rl",
            ("brief",),
        ),
        Organism(
            "smollm2",
            "a real language model, truth unknown: GRPO on short arithmetic; a random reward (random) and supervised "
            "steps (sft) on the same problems as contrasts",
            "smollm2/base",
            "smollm2/rl",
            ("arithmetic",),
            fetched=True,
            # What one core of a CPU does in an hour or less.
            study={
                "n_problems": 60,
                "samples": 16,
                "temperature": 0.7,
                "max_new_tokens": 32,
                "batch_size": 64,
                "probe_samples": 4,
                "thresholds": (0.05, 0.1, 0.2),
                "alphas": (1.0,),
            },
        ),
    )
}


def _find(name: str) -> Organism:
    short = name.removeprefix(PREFIX)
    if short not in ORGANISMS:
        raise ValueError(f"There is no organism {short!r}; the package ships {', '.join(ORGANISMS)}.")
    return ORGANISMS[short]


def resolve_pair(name: str) -> tuple[Path, Path]:
    """Folders of base and tuned model of ``organism:NAME``; ValueError for an unknown name."""
    organism = _find(name)
    return resolve(f"{PREFIX}{organism.name}:base"), resolve(f"{PREFIX}{organism.name}:rl")


def resolve(name: str) -> Path:
    """Folder of one member, ``organism:NAME:MEMBER``: of whole weights, or of an adapter on a fetched base.

    Raises:
        ValueError: for an unknown organism or member.
        FileNotFoundError: for a base that was not fetched yet.
    """
    short, _, member = name.removeprefix(PREFIX).partition(":")
    organism = _find(short)
    if not member:
        raise ValueError(f"{name!r} names a pair; name one model: {PREFIX}{short}:base or {PREFIX}{short}:rl.")
    if organism.fetched and member == "base":
        from hooks.organisms.fetched import fetched_or_refuse

        return fetched_or_refuse()
    named = {"base": organism.base, "rl": organism.rl}
    folder = WEIGHTS / named.get(member, f"{short}/{member}")
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ValueError(f"Organism {short!r} has no member {member!r}; it has {', '.join(organism.members)}.")
    return folder


__all__ = ["ORGANISMS", "PREFIX", "WEIGHTS", "Organism", "resolve", "resolve_pair"]
