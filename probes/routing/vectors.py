r"""A steering vector for each strategy, with a coefficient that depends on the place: the artifact.

At a place whose strategy is c and where the base's activation at the site is h,

.. math:: h \leftarrow h + \mathrm{softplus}(w_c \cdot \mathrm{GELU}(W h) + b_c)\, V_c

The strategy is read off the RL model's activation at the same place by a linear reader (the category whose score is
highest). Training is :mod:`probes.routing.vector_training`; using it is :mod:`probes.routing.steered`. Protocol of
arXiv 2510.07364's second version, with labelled strategies in place of a sparse autoencoder's.

What it does not show: that a vector *is* a strategy. It was trained to bring out the RL model's tokens; only the
controls with wrong strategies, wrong places and random vectors say what of its effect is the strategy's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.rollouts import write_whole
from hooks.sites import Site
from hooks.streams import stream

FORMAT = "whenlens.strategy_vectors"
VERSION = 1
TENSORS = ("vectors", "trunk", "heads", "biases", "reader", "reader_bias")


@dataclass(frozen=True, eq=False)
class StrategyVectors:
    """One vector a strategy, their coefficients, and the reader that says which strategy a place is in."""

    names: tuple[str, ...]
    """The strategies."""
    vectors: Float[Tensor, "category d_model"]
    """V."""
    trunk: Float[Tensor, "width d_model"]
    """W."""
    heads: Float[Tensor, "category width"]
    """w."""
    biases: Float[Tensor, "category"]
    """b."""
    reader: Float[Tensor, "category d_other"]
    """Weights of the reader on the RL model's raw activation."""
    reader_bias: Float[Tensor, "category"]
    """Its biases."""
    site: Site
    """Where the base is pushed."""
    read_site: str
    """Where the RL model is read."""
    weights_hash: tuple[str, str] = ("", "")
    """Of base and RL model."""
    scores_held_out: Mapping[str, float] = field(default_factory=dict)
    """Held-out cross-entropy without and with the vectors (nats, the mean over strategies of the mean over places), and
    how often reader and labels agree."""
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A row an epoch: cross-entropy in training and held out."""

    def scores(self, hidden: Float[Tensor, "position d_other"]) -> Float[Tensor, "position category"]:
        """How well each strategy fits, from the RL model's activations."""
        return hidden.float() @ self.reader.to(hidden.device).T + self.reader_bias.to(hidden.device)

    def move(
        self, hidden: Float[Tensor, "place d_model"], sorts: Int[Tensor, "place"]
    ) -> Float[Tensor, "place d_model"]:
        """What is added to the base's activations at places of these strategies."""
        return push(hidden, sorts, *(part.to(hidden.device) for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.vectors, self.trunk, self.heads, self.biases

    def scrambled(self, seed: int) -> StrategyVectors:
        """Random directions of the same lengths, with the same coefficients: the control."""
        draw = torch.from_numpy(stream(seed, "random vectors").standard_normal(tuple(self.vectors.shape))).float()
        lengths = self.vectors.norm(dim=-1, keepdim=True)
        return replace(self, vectors=draw / draw.norm(dim=-1, keepdim=True) * lengths)

    def furthest(self) -> Int[Tensor, "category"]:
        """For each strategy the one whose vector has the lowest cosine with its own."""
        unit = self.vectors / self.vectors.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        return (unit @ unit.T).argmin(dim=-1)

    @cached_property
    def digest(self) -> str:
        """A hash of every number in it."""
        parts = [getattr(self, name).contiguous().numpy().tobytes() for name in TENSORS]
        parts += [str((self.names, str(self.site), self.read_site)).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file with a JSON header, whole or not at all, and return its path."""
        from safetensors.torch import save_file

        told = {
            "version": VERSION, "names": self.names, "site": str(self.site), "read_site": self.read_site,
            "weights_hash": self.weights_hash, "scores_held_out": dict(self.scores_held_out),
            "history": self.history.to_dict("list"),
        }  # fmt: skip
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        header = {FORMAT: json.dumps(told)}
        return write_whole(Path(path), lambda file: save_file(tensors, file, metadata=header))

    @classmethod
    def load(cls, path: str | Path) -> StrategyVectors:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: where the file holds something else, or was written by a later version.
        """
        told, tensors = read_artifact(path, FORMAT, VERSION)
        return cls(
            names=tuple(told["names"]), **tensors, site=Site.parse(told["site"]), read_site=told["read_site"],
            weights_hash=tuple(told["weights_hash"]), scores_held_out=told["scores_held_out"],
            history=pd.DataFrame(told["history"]),
        )  # fmt: skip

    def __str__(self) -> str:
        lengths = ", ".join(
            f"{name} {length:.2g}" for name, length in zip(self.names, self.vectors.norm(dim=-1).tolist(), strict=True)
        )
        said = ", ".join(f"{name} {value:.3f}" for name, value in self.scores_held_out.items())
        return f"vectors at {self.site} for {len(self.names)} strategies (norms: {lengths}); held out: {said}; one run"


def push(
    hidden: Float[Tensor, "place d_model"],
    sorts: Int[Tensor, "place"],
    vectors: Float[Tensor, "category d_model"],
    trunk: Float[Tensor, "width d_model"],
    heads: Float[Tensor, "category width"],
    biases: Float[Tensor, "category"],
) -> Float[Tensor, "place d_model"]:
    """softplus(w_c . GELU(W h) + b_c) V_c at each place, in float32 at least."""
    wide = hidden.to(torch.promote_types(hidden.dtype, vectors.dtype))
    inner = torch.nn.functional.gelu(wide @ trunk.to(wide).T)
    strength = torch.nn.functional.softplus((inner * heads.to(wide)[sorts]).sum(-1) + biases.to(wide)[sorts])
    return strength[:, None] * vectors.to(wide)[sorts]


def read_artifact(path: str | Path, name: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a safetensors file that this package wrote.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where the file holds something else, or was written by a later version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; name what save() wrote")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(name)
            if header is None:
                raise ValueError(f"{path} holds no {name.removeprefix('whenlens.').replace('_', ' ')}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    told: dict[str, Any] = json.loads(header)
    if told["version"] > version:
        raise ValueError(f"{path} has version {told['version']} and this package reads up to {version}")
    return told, tensors


def initial(n_categories: int, d_model: int, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """V of norm 1, Xavier weights, biases of 0.5: where training starts."""
    draw = stream(seed, "strategy vectors")

    def xavier(rows: int, columns: int) -> Tensor:
        edge = float(np.sqrt(6 / (rows + columns)))
        return torch.from_numpy(draw.uniform(-edge, edge, (rows, columns))).float()

    vectors = torch.from_numpy(draw.standard_normal((n_categories, d_model))).float()
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    # One head a category: each is a map from the trunk to one number.
    heads = torch.cat([xavier(1, width) for _ in range(n_categories)])
    return vectors, xavier(width, d_model), heads, torch.full((n_categories,), 0.5)
