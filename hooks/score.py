"""How do both models of a pair judge the same tokens? Teacher forcing: a row a generated token, nothing sampled.

Both networks read the same ids once; logits are computed only for places from which a generated token is chosen, a
chunk at a time over the full common vocabulary in float32, so that tokens × vocabulary is never held.  The measures are
those of :mod:`hooks.tokenwise`; JS between base and RL along the RL model's own text is the quantity of arXiv
2603.22446, ranks under the base are those of URIAL (arXiv 2312.01552).

What it does not show: what either model would have written.  Along RL text the base is off its own distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.model import Model
from hooks.packing import by_length, halving, pad_right, tokens_a_batch
from hooks.pair import Pair
from hooks.sampling import check_sampling
from hooks.sequences import Sequences
from hooks.shards import write_file
from hooks.standing import standing
from hooks.tap import Transit
from hooks.tokenwise import MEASURES, compare

CHUNK_BYTES = {"cpu": 8 << 20}
"""Size of one model's logits in a chunk, by kind of device; a few such blocks are alive at a time."""
DEVICE_CHUNK_BYTES = 128 << 20
COUNTS = ("rank_base", "rank_rl", "top_base", "top_rl")
"""Measures that are whole numbers."""


@dataclass(frozen=True, eq=False)
class TokenTable:
    """A row a generated token: who it is and what both models make of it."""

    frame: pd.DataFrame
    """problem, sample, model (the text's author), pos (absolute; the token was chosen from pos - 1), index (pos -
    n_prompt), id, and the measures of :data:`hooks.tokenwise.MEASURES`."""
    manifest: dict[str, Any]
    """Both models, hash of the tokens, temperature, top_p and top_k."""

    def __len__(self) -> int:
        return len(self.frame)

    def __str__(self) -> str:
        if not len(self):
            return "no tokens scored"
        mean = self.frame[["logp_base", "logp_rl", "entropy_base", "entropy_rl", "js"]].mean()
        texts = self.frame.groupby(["problem", "sample"], observed=True).ngroups
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in mean.items())
        return f"{len(self)} tokens of {texts} texts; means: {numbers}"

    def save(self, path: str | Path) -> Path:
        """Write one parquet file, whole or not at all."""
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        marks = {**(table.schema.metadata or {}), b"whenlens.score": json.dumps(self.manifest).encode()}
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(marks), sink, compression="zstd")
        write_file(Path(path), sink.getvalue().to_pybytes())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> TokenTable:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: where it is no token table.
        """
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no token table at {path}; score(...).save(path) writes one")
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not a parquet file") from error
        marks = table.schema.metadata or {}
        if b"whenlens.score" not in marks:
            raise ValueError(f"{path} is a parquet file but no token table; score() makes one")
        return cls(table.to_pandas(), json.loads(marks[b"whenlens.score"]))


def score(
    pair: Pair,
    rollouts: Any,
    *,
    batch_tokens: int | None = None,
    chunk: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 10,
    progress: Callable[[int, int], object] | None = None,
) -> TokenTable:
    """Let both models of a pair read the same texts and compare them at every generated token.

    Args:
        pair: base and RL.
        rollouts: Rollouts, or a list of ``(ids, n_prompt)``; everything behind the prompt is scored.
        batch_tokens: padded tokens a forward; when None, what suits the device.  Halved aloud when memory runs out.
        chunk: places whose logits are held at a time; when None, what fits the device's caches.
        temperature: divides the logits of both models, so that all measures are of the models as sampled at it.
        top_p: truncates the distributions that entropies and divergences are taken of; 1 leaves them whole.
        top_k: how many first choices ``topk_overlap`` compares.
        progress: called with tokens done and tokens in all.

    Returns:
        One row a generated token, in the order of the data.

    Raises:
        ValueError: for a text without a prompt, options that mean nothing, ids outside the common vocabulary, or a
            model that answers with NaN.
    """
    check_sampling(temperature, top_p)
    if temperature == 0:
        raise ValueError(
            "temperature 0 has no distribution to score; give the temperature above 0 of the samples, or 1"
        )
    if top_k < 1 or (chunk is not None and chunk < 1):
        raise ValueError(f"top_k and chunk must be at least 1, not {top_k} and {chunk}")
    sequences = Sequences.of(rollouts, pair.base)
    sequences.check_vocabulary(pair.d_vocab, "the pair's common vocabulary")
    for row, n_prompt in enumerate(sequences.n_prompt):
        if not n_prompt:
            raise ValueError(f"sequence {sequences.name(row)} has no prompt, so nothing precedes its first token")
    job = _Job(pair, sequences, chunk, temperature, top_p, top_k)
    job.run(batch_tokens, progress)
    manifest = {
        "base": pair.base.name,
        "rl": pair.rl.name,
        "tokens": sequences.token_hash,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
    }
    return TokenTable(job.frame(), manifest)


class _Job:
    """One call of :func:`score`: where each sequence's rows begin, and the table being filled."""

    def __init__(
        self, pair: Pair, sequences: Sequences, chunk: int | None, temperature: float, top_p: float, top_k: int
    ) -> None:
        self.pair, self.sequences, self.chunk = pair, sequences, chunk
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k
        self.counts = sequences.lengths - np.asarray(sequences.n_prompt, dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        self.out = torch.full((len(MEASURES), int(self.offsets[-1])), torch.nan)

    def run(self, batch_tokens: int | None, progress: Callable[[int, int], object] | None) -> None:
        """Fill the table."""
        transit = Transit(self.pair.base.device)
        total, done = int(self.sequences.lengths.sum()), 0

        def work(batch: Int[np.ndarray, " _"]) -> None:
            nonlocal done
            self._read(batch, transit)
            done += int(self.sequences.lengths[batch].sum())
            if progress is not None:
                progress(done, total)

        wanted = np.flatnonzero(self.counts)
        done = total - int(self.sequences.lengths[wanted].sum())
        size = tokens_a_batch(batch_tokens, self.pair.base.device)
        for own in by_length(self.sequences.lengths[wanted], size):
            halving(work, wanted[own])
        transit.flush()
        self._refuse_nan()

    @torch.no_grad()
    def _read(self, batch: Int[np.ndarray, " _"], transit: Transit) -> None:
        ids = [self.sequences.ids[row] for row in batch]
        # The last token predicts nothing that is in the text.
        padded = pad_right([own[:-1] for own in ids], self.pair.base.pad_id)
        starts = [self.sequences.n_prompt[row] for row in batch]
        width = padded.shape[1]
        places = [np.arange(n - 1, len(own) - 1) for n, own in zip(starts, ids)]
        flat = np.concatenate([place * width + own for place, own in enumerate(places)])
        rows = np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in batch])
        tokens = torch.from_numpy(np.concatenate([own[n:] for n, own in zip(starts, ids)]))
        with standing(batch.tolist(), starts, [len(own) - 1 for own in ids]):
            base, rl = (_places(model, padded, flat) for model in (self.pair.base, self.pair.rl))
        tokens = tokens.to(base.device)
        step = self._step(base.device)
        for start in range(0, len(flat), step):
            part = slice(start, start + step)
            logits = self._logits(self.pair.base, base[part])
            other = self._logits(self.pair.rl, rl[part]).to(logits.device)
            found = compare(logits, other, tokens[part], top_p=self.top_p, top_k=self.top_k)
            place = torch.from_numpy(rows[part])
            transit.send(found, lambda block, place=place: self._keep(place, block))  # type: ignore[misc]

    def _logits(self, model: Model, hidden: Float[Tensor, "place d_model"]) -> Float[Tensor, "place vocab"]:
        logits = self.pair.cut(model.unembed(hidden))
        return logits if self.temperature == 1 else logits.float() / self.temperature

    def _keep(self, place: Int[Tensor, " token"], block: Float[Tensor, "measure token"]) -> None:
        self.out[:, place] = block

    def _step(self, device: torch.device) -> int:
        size = CHUNK_BYTES.get(device.type, DEVICE_CHUNK_BYTES)
        return self.chunk or max(1, size // (4 * self.pair.d_vocab))

    def _refuse_nan(self) -> None:
        for name in ("logp_base", "logp_rl"):
            bad = self.out[MEASURES.index(name)].isnan()
            if bool(bad.any()):
                row = int(np.searchsorted(self.offsets, int(bad.nonzero()[0]), side="right")) - 1
                raise ValueError(
                    f"{name.removeprefix('logp_')} answers with NaN in sequence {self.sequences.name(row)}: "
                    "load the pair with dtype='float32' or 'bfloat16'"
                )

    def frame(self) -> pd.DataFrame:
        """The table."""
        sequences = self.sequences
        own = np.repeat(np.arange(len(sequences)), self.counts)
        index = np.arange(int(self.offsets[-1])) - self.offsets[own]
        ids = [ids[n:] for ids, n in zip(sequences.ids, sequences.n_prompt)]
        columns: dict[str, Any] = {
            "problem": np.asarray(sequences.problem, dtype=object)[own],
            "sample": np.asarray(sequences.sample, dtype=np.int32)[own],
            "model": np.asarray(sequences.author, dtype=object)[own],
            "pos": (index + np.asarray(sequences.n_prompt, dtype=np.int64)[own]).astype(np.int32),
            "index": index.astype(np.int32),
            "id": np.concatenate([*ids, np.empty(0, dtype=np.int64)]).astype(np.int32),
        }
        for name, values in zip(MEASURES, self.out.numpy()):
            columns[name] = values.astype(np.int32) if name in COUNTS else values
        return pd.DataFrame(columns)


def _places(model: Model, padded: Int[Tensor, "batch pos"], flat: Int[np.ndarray, " _"]) -> Float[Tensor, "_ d_model"]:
    """Final hidden states of the places from which tokens are chosen."""
    hidden = model.backbone(padded.to(model.device))
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, torch.from_numpy(flat).to(model.device))
