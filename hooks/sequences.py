"""What is read: token ids of whole sequences, how many of them are the prompt, and whose they are.

Ids pass between models, never text that is tokenised again.  Everything that reads a network (capture, score) takes
its input through :meth:`Sequences.of`, so that samples, plain id lists, padded tensors with their mask and texts mean
the same everywhere.  Padding never enters: a padded batch is cut to its rows here and padded again inside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from hooks.model import Model


@dataclass(frozen=True)
class Sequences:
    """Unpadded id lists with their prompts' lengths and names; the common input of capture and score."""

    ids: tuple[Int[np.ndarray, " _"], ...]
    """Whole sequences, prompt and completion."""
    n_prompt: tuple[int, ...]
    """How many ids of each sequence were given rather than generated."""
    problem: tuple[str, ...]
    """Name of the problem of each sequence."""
    sample: tuple[int, ...]
    """Number of the sample within its problem."""
    author: tuple[str, ...]
    """Name of the model that wrote each sequence; empty text where nobody said."""

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.n_prompt), len(self.problem), len(self.sample), len(self.author)}
        if len(lengths) > 1:
            raise ValueError(f"ids, n_prompt, problem, sample and author must have one entry a sequence: {lengths}")
        for row, (ids, n_prompt) in enumerate(zip(self.ids, self.n_prompt)):
            if not len(ids):
                raise ValueError(f"sequence {self.name(row)} is empty: begin it with the BOS token or leave it out")
            if not 0 <= n_prompt <= len(ids):
                raise ValueError(f"sequence {self.name(row)} of {len(ids)} tokens cannot have a prompt of {n_prompt}")

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, row: int) -> str:
        """How messages call a sequence: its number, problem and sample."""
        return f"{row} (problem {self.problem[row]!r}, sample {self.sample[row]})"

    @cached_property
    def lengths(self) -> Int[np.ndarray, " sequence"]:
        """Tokens of each sequence."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    @cached_property
    def flat_ids(self) -> Int[np.ndarray, " token"]:
        """All ids, sequences laid end to end."""
        return np.concatenate([*self.ids, np.empty(0, dtype=np.int64)]).astype(np.int64, copy=False)

    @cached_property
    def starts(self) -> Int[np.ndarray, " sequence"]:
        """Where each sequence begins in :attr:`flat_ids`."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def token_hash(self) -> str:
        """SHA-256 over ids, prompt lengths and names, so that one changed token makes another request."""
        digest = hashlib.sha256()
        for ids, n_prompt, problem, sample in zip(self.ids, self.n_prompt, self.problem, self.sample):
            head = f"{len(ids)}:{n_prompt}:{sample}:{len(problem)}:{problem}".encode()
            digest.update(len(head).to_bytes(8, "big") + head + ids.astype("<i8").tobytes())
        return digest.hexdigest()

    def check_vocabulary(self, d_vocab: int, model: str) -> None:
        """Refuse ids that ``model`` has no embedding for.

        Raises:
            ValueError: naming the first such sequence and id.
        """
        wrong = np.flatnonzero((self.flat_ids < 0) | (self.flat_ids >= d_vocab))
        if len(wrong):
            row = int(np.searchsorted(self.starts, wrong[0], side="right")) - 1
            raise ValueError(
                f"sequence {self.name(row)} has the id {self.flat_ids[wrong[0]]}, but {model} has ids 0 to "
                f"{d_vocab - 1}; use samples made with this model's tokenizer"
            )

    @classmethod
    def of(cls, data: Any, model: Model) -> Sequences:
        """Read anything that holds whole sequences.

        Args:
            data: Rollouts; Sequences; a list of texts (encoded without a chat template, all prompt); a list of id
                lists (all prompt); a list of ``(ids, n_prompt)``; or a mapping with ``input_ids`` and
                ``attention_mask``, padded on either side.
            model: encodes texts; its vocabulary bounds the ids.

        Raises:
            ValueError: for padded ids without a mask, an empty sequence, or an id outside the vocabulary.
            TypeError: for anything else.
        """
        out = _read(data, model)
        out.check_vocabulary(model.d_vocab, model.name)
        return out


def _read(data: Any, model: Model) -> Sequences:
    if isinstance(data, Sequences):
        return data
    if hasattr(data, "sequences") and hasattr(data, "frame"):
        return _of_rollouts(data)
    if isinstance(data, Mapping):
        return _plain([(ids, len(ids)) for ids in _unpad(data)])
    if isinstance(data, torch.Tensor):
        raise ValueError("a tensor of ids may hold padding: pass its attention_mask too, or id lists")
    if isinstance(data, str) or not isinstance(data, Sequence):
        raise TypeError(
            f"cannot read {type(data).__name__} as sequences: pass Rollouts, a list of texts or of id lists"
        )
    if all(isinstance(item, str) for item in data):
        return _plain([(ids, len(ids)) for ids in model.encode(list(data), template="none")])
    return _plain([_pair(item) for item in data])


def _pair(item: Any) -> tuple[Any, int]:
    """Tell ``(ids, n_prompt)`` from a plain id list."""
    if isinstance(item, tuple) and len(item) == 2 and not np.isscalar(item[0]):
        return item[0], int(item[1])
    if isinstance(item, str):
        raise TypeError("texts and id lists cannot be mixed in one call")
    return item, len(item)


def _plain(items: Sequence[tuple[Any, int]]) -> Sequences:
    ids = tuple(np.asarray(row, dtype=np.int64).reshape(-1) for row, _ in items)
    names = tuple(str(row) for row in range(len(items)))
    return Sequences(ids, tuple(n for _, n in items), names, (0,) * len(items), ("",) * len(items))


def _of_rollouts(rollouts: Any) -> Sequences:
    frame = rollouts.frame
    pairs = rollouts.sequences()
    return Sequences(
        ids=tuple(np.asarray(ids, dtype=np.int64).reshape(-1) for ids, _ in pairs),
        n_prompt=tuple(int(n_prompt) for _, n_prompt in pairs),
        problem=tuple(str(problem) for problem in frame["problem"]),
        sample=tuple(int(sample) for sample in frame["sample"]),
        author=tuple(str(model) for model in frame["model"]) if "model" in frame else ("",) * len(frame),
    )


def _unpad(batch: Mapping[str, Any]) -> list[Int[np.ndarray, " _"]]:
    if "input_ids" not in batch:
        raise ValueError("a mapping of ids needs input_ids and attention_mask")
    if batch.get("attention_mask") is None:
        raise ValueError("padded ids without their attention_mask cannot be read safely: pass the mask or id lists")
    ids, mask = np.asarray(batch["input_ids"]), np.asarray(batch["attention_mask"]).astype(bool)
    if ids.shape != mask.shape or ids.ndim != 2:
        raise ValueError(f"input_ids {ids.shape} and attention_mask {mask.shape} must be one [batch, pos] shape")
    return [row[keep].astype(np.int64) for row, keep in zip(ids, mask)]
