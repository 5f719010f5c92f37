"""A steering vector as an artifact: what it is, where it acts, what it was made from, how it did on held-out data.

The vector is kept as it was found, not normalised; its norm is part of it, and so is the typical norm of the activation
it is added to, since ``alpha * |v|`` says little without ``|h|`` beside it.  On disk it is a safetensors file with one
tensor and a JSON header.  That a direction is written down here does not show that it does anything: the scores say how
well it reads, and only steering beside norm-matched random vectors says whether it acts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.rollouts import write_whole
from hooks.sites import Site

FORMAT = "whenlens.direction"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector of the residual stream (or of what a layer adds to it) and its papers.

    Raises:
        ValueError: for a vector that is zero or not finite, or a site where there is no such vector.
    """

    vector: Float[Tensor, "d_model"]
    """The vector as found, float32 on the CPU."""
    site: Site
    """Where it was found and where steering adds it."""
    kind: str = "unknown"
    """How it was found: "mean", "logistic", "lda", "pca", "optimised", "random", ..."""
    model: str = ""
    """Name of the model whose activations it came from."""
    revision: str | None = None
    """That model's revision on the hub."""
    weights_hash: str = ""
    """Hash of that model's weights; steering another model has to be asked for.  Empty: not known."""
    origin: str = ""
    """Whose activations on whose text, for instance "base activations, base text"."""
    label: str = ""
    """What it is a direction of, for instance "verification"."""
    typical_norm: float = math.nan
    """Median norm of the activation at the site; NaN: not measured."""
    data_hash: str = ""
    """Hash of the data it was made from."""
    scores: Mapping[str, float | str | None] = field(default_factory=dict)
    """Held-out scores, by name."""

    def __post_init__(self) -> None:
        vector = self.vector.detach().to("cpu", torch.float32).contiguous()
        if vector.ndim != 1 or not len(vector):
            raise ValueError(f"a direction is one vector, not a tensor of shape {tuple(vector.shape)}")
        if not bool(vector.isfinite().all()) or not bool(vector.any()):
            raise ValueError(f"the direction {self.label!r} at {self.site} is zero or not finite and points nowhere")
        if not self.site.coarse:
            raise ValueError(
                f"{self.site} has no vector of the model's width; directions live at resid_*, attn_out, mlp_out"
            )
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "scores", dict(self.scores))

    @property
    def norm(self) -> float:
        """Euclidean length of the vector."""
        return float(self.vector.double().norm())

    @property
    def relative_norm(self) -> float:
        """The norm in units of the typical activation's; NaN when that was not measured."""
        return self.norm / self.typical_norm

    @property
    def d_model(self) -> int:
        """Width of the model it belongs to."""
        return len(self.vector)

    def unit(self) -> Direction:
        """The same direction with norm 1."""
        return replace(self, vector=self.vector / self.norm)

    def scaled(self, factor: float) -> Direction:
        """The same direction, ``factor`` times as long; a negative one turns it round."""
        return replace(self, vector=self.vector * factor)

    def at(self, site: Site | str) -> Direction:
        """The same vector at another site (which is another claim: nothing was measured there)."""
        return replace(self, site=Site.parse(site), typical_norm=math.nan)

    def cosine(self, other: Direction | Float[Tensor, "d_model"]) -> float:
        """Cosine of the angle to another direction."""
        there = (other.vector if isinstance(other, Direction) else other).double().cpu()
        return float(self.vector.double() @ there / (self.norm * there.norm()))

    def __str__(self) -> str:
        dose = "" if math.isnan(self.typical_norm) else f" ({self.relative_norm:.2f} of the typical activation)"
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.scores.items() if isinstance(value, float))
        what = f"{self.kind} direction {self.label!r} at {self.site}"
        return (
            f"{what}: norm {self.norm:.3g}{dose}; {self.origin or 'origin not stated'}{'; ' + scores if scores else ''}"
        )

    def header(self) -> dict[str, Any]:
        """Everything but the vector, as plain JSON values."""
        return {
            "version": VERSION, "site": str(self.site), "kind": self.kind, "model": self.model,
            "revision": self.revision, "weights_hash": self.weights_hash, "origin": self.origin, "label": self.label,
            "norm": self.norm, "typical_norm": None if math.isnan(self.typical_norm) else self.typical_norm,
            "data_hash": self.data_hash, "scores": dict(self.scores),
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, whole or not at all, and return its path."""
        from safetensors.torch import save_file

        header = {FORMAT: json.dumps(self.header(), allow_nan=True)}
        return write_whole(Path(path), lambda file: save_file({"vector": self.vector}, file, metadata=header))

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: where the file is no direction, or was written by a later version.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no direction at {path}; Direction.save(path) writes one")
        try:
            with safe_open(str(path), framework="pt") as file:
                header = (file.metadata() or {}).get(FORMAT)
                if header is None or "vector" not in file.keys():  # noqa: SIM118
                    raise ValueError(f"{path} is a safetensors file without a direction in it")
                vector = file.get_tensor("vector")
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}") from error
        known = json.loads(header)
        if known["version"] > VERSION:
            raise ValueError(f"{path} has version {known['version']} and this package reads up to {VERSION}")
        typical = math.nan if known["typical_norm"] is None else known["typical_norm"]
        names = ("kind", "model", "revision", "weights_hash", "origin", "label", "data_hash", "scores")
        return cls(vector, Site.parse(known["site"]), typical_norm=typical, **{name: known[name] for name in names})
