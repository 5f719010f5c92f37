"""Checkpoints on disk, one tensor at a time.

Question: which tensors of two checkpoints are the same parameter, and how is one read without loading the rest?
A checkpoint is a folder in the Hugging Face layout (``model.safetensors``, or shards with an index) or one
``.safetensors`` file. Names are compared after wrapper prefixes are taken off (``module.``, ``_orig_mod.``,
``base_model.model.``, and the outermost ``model.`` or ``transformer.``), so that the same network saved from another
class still lines up; whatever was renamed is listed. Output heads that share the embedding's storage count once.

What it does not show: whether two parameters of one name and shape do the same work; nothing is executed here.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import TracebackType

import torch
from torch import Tensor

_WRAPPERS = ("_orig_mod.", "module.", "base_model.model.")
_TREES = ("model.", "transformer.", "gpt_neox.")
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids)$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d+)\.(.+)$")
_HEADS = ("lm_head.weight", "embed_out.weight")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def canonical(name: str) -> str:
    """A parameter's name without the prefixes that wrappers and head classes put before it."""
    stripped = True
    while stripped:
        stripped = False
        for prefix in _WRAPPERS:
            if name.startswith(prefix):
                name, stripped = name[len(prefix) :], True
    for prefix in _TREES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def place(name: str) -> tuple[int | None, str, str]:
    """Layer number (None outside the blocks), module name inside the block, and kind of a canonical name.

    Kinds are ``embedding``, ``head``, ``norm``, ``attention``, ``mlp`` and ``other``.
    """
    found = _LAYER.search(name)
    layer, module = (int(found.group(1)), found.group(2)) if found else (None, name)
    module = module.removesuffix(".weight")
    lowered = module.lower()
    if name in _HEADS:
        kind = "head"
    elif layer is None and ("embed" in lowered or lowered in ("wte", "wpe")):
        kind = "embedding"
    elif "norm" in lowered or re.search(r"(^|\.)ln(_|\b)", lowered):
        kind = "norm"
    elif "attn" in lowered or "attention" in lowered:
        kind = "attention"
    elif "mlp" in lowered or "expert" in lowered or "feed_forward" in lowered:
        kind = "mlp"
    else:
        kind = "other"
    return layer, module, kind


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies and what it is, known without reading it."""

    name: str
    """Its name in the file."""
    file: Path
    """The safetensors file that holds it."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its type as safetensors writes it: ``BF16``, ``F32``, ..."""
    offset: int
    """Where its first byte stands in the file."""


@dataclass
class Checkpoint:
    """A checkpoint opened for reading tensors singly; use it in a ``with`` block, which closes the files."""

    path: Path
    """The folder or file."""
    tensors: Mapping[str, Stored]
    """Canonical name to tensor, tied heads and buffers left out."""
    tied: tuple[str, ...]
    """Names in the file that repeat the embedding and are not counted again."""
    skipped: tuple[str, ...]
    """Buffers (masks, rotary frequencies) that are no parameters."""
    _open: dict[Path, int] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Read the headers of a checkpoint's files; no weight is read.

        Raises:
            FileNotFoundError: there is no such folder or it holds no safetensors.
            ValueError: the folder is a LoRA adapter or holds quantised integers.
        """
        path = Path(path)
        files = _files(path)
        found: dict[str, Stored] = {}
        skipped: list[str] = []
        for file in files:
            for entry in _headers(file):
                if "lora_A" in entry.name or "lora_B" in entry.name:
                    raise ValueError(_adapter_message(path))
                if _BUFFERS.search(entry.name):
                    skipped.append(entry.name)
                elif entry.dtype not in _FLOATS:
                    raise ValueError(
                        f"{path}: tensor {entry.name} is stored as {entry.dtype}, which is a quantised weight; compare "
                        f"checkpoints saved in bfloat16, float16 or float32."
                    )
                elif canonical(entry.name) in found:
                    raise ValueError(f"{path}: two tensors answer to {canonical(entry.name)!r}; remove one of them.")
                else:
                    found[canonical(entry.name)] = entry
        tied = _tied_heads(path, found)
        for name in tied:
            del found[name]
        return cls(path=path, tensors=found, tied=tied, skipped=tuple(sorted(skipped)))

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of a tensor in its stored type (a vector is cut along its only axis).

        They are read, not mapped, so that memory holds no more of the file than these; threads may read at once.

        Raises:
            ValueError: the file ends before them.
        """
        shape = self.tensors[name].shape or (1,)
        width = math.prod(shape[1:])
        begin, end = (min(max(at, 0), shape[0]) for at in (start, stop))
        own = (max(0, end - begin), *shape[1:]) if self.tensors[name].shape else (1,)
        return self.entries(name, begin * width, max(begin, end) * width).reshape(own)

    def entries(self, name: str, start: int, stop: int, room: memoryview | None = None) -> Tensor:
        """Entries ``start`` to ``stop`` of a tensor in the order of the file, flat, in its stored type.

        With ``room``, a buffer that is long enough, they lie in it until it is used again.

        Raises:
            ValueError: the file ends before them.
        """
        stored = self.tensors[name]
        dtype = _FLOATS[stored.dtype]
        if stop <= start:
            return torch.empty(0, dtype=dtype)
        room = memoryview(bytearray((stop - start) * dtype.itemsize)) if room is None else room
        data = room[: (stop - start) * dtype.itemsize]
        if os.preadv(self._file(stored.file), [data], stored.offset + start * dtype.itemsize) != len(data):
            raise ValueError(f"{stored.file} ends inside {stored.name}; download it again.")
        return torch.frombuffer(room, dtype=dtype, count=stop - start)

    def announce(self, name: str, start: int, stop: int) -> None:
        """Tell the kernel, where it listens, that these entries will be read soon, so that it reads while we count."""
        stored = self.tensors[name]
        width = _FLOATS[stored.dtype].itemsize
        if hasattr(os, "posix_fadvise"):
            place = (stored.offset + start * width, (stop - start) * width)
            os.posix_fadvise(self._file(stored.file), *place, os.POSIX_FADV_WILLNEED)

    def _file(self, file: Path) -> int:
        with self._lock:
            if file not in self._open:
                self._open[file] = os.open(file, os.O_RDONLY)
            return self._open[file]


def _adapter_message(path: Path) -> str:
    return (
        f"{path} is a LoRA adapter, not a whole checkpoint; merge it first (peft: model.merge_and_unload() and "
        f"save_pretrained) and compare the merged folder."
    )


def _files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint, through its index where there is one."""
    if path.is_file() and path.suffix == ".safetensors":
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"No checkpoint at {path}; give a local folder or a .safetensors file.")
    index = path / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (path / name).exists()]
        if missing:
            raise FileNotFoundError(f"{path}: the index names {missing[0]}, which is not there; download every shard.")
        return [path / name for name in names]
    if (path / "model.safetensors").exists():
        return [path / "model.safetensors"]
    if (path / "adapter_config.json").exists():
        raise ValueError(_adapter_message(path))
    files = sorted(path.glob("*.safetensors"))
    if not files:
        held = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
        raise FileNotFoundError(
            f"{path} holds no .safetensors file (it holds {held}); save the model with safe_serialization=True."
        )
    return files


def _headers(file: Path) -> Iterator[Stored]:
    """Name, shape, type and place of each tensor in one file."""
    from safetensors import safe_open

    # The library judges the header (overlaps, lengths, the file's size); the places are then read from it.
    with safe_open(file, framework="pt") as handle, open(file, "rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        told = json.loads(raw.read(length))
        for name in handle.keys():  # noqa: SIM118 -- a safetensors handle is no mapping
            own = told[name]
            yield Stored(
                name=name, file=file, shape=tuple(own["shape"]), dtype=own["dtype"],
                offset=8 + length + own["data_offsets"][0],
            )  # fmt: skip


def _tied_heads(path: Path, found: Mapping[str, Stored]) -> tuple[str, ...]:
    """Output heads that are the embedding itself: the configuration says so, or is silent and the bytes agree."""
    config = path / "config.json" if path.is_dir() else path.parent / "config.json"
    declared = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    says = declared.get("tie_word_embeddings", declared.get("text_config", {}).get("tie_word_embeddings"))
    embeddings = [found[name] for name in _EMBEDDINGS if name in found]
    heads = [name for name in _HEADS if name in found]
    if not embeddings or not heads or says is False:
        return ()
    return tuple(name for name in heads if says or _same_bytes(found[name], embeddings[0]))


def _same_bytes(one: Stored, other: Stored) -> bool:
    """Whether two stored tensors hold the same bytes in the same type, read piece by piece."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    left = math.prod(one.shape) * _FLOATS[one.dtype].itemsize
    with open(one.file, "rb") as first, open(other.file, "rb") as second:
        first.seek(one.offset)
        second.seek(other.offset)
        while left:
            piece = min(left, 1 << 20)
            if first.read(piece) != second.read(piece):
                return False
            left -= piece
    return True
