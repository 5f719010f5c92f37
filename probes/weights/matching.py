"""Which tensors of two checkpoints are one parameter, and what a reader must know about the rest.

Parameters are paired by canonical name (:func:`probes.weights.files.canonical`). Embeddings and heads of two vocabulary
sizes are compared on their common rows; other shapes, types, missing and tied tensors are named, never passed over.

What it does not show: whether two parameters of one name and shape do the same work.
"""

from __future__ import annotations

from probes.weights.files import Checkpoint, Stored, place


def line_up(base: Checkpoint, rl: Checkpoint) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Canonical names that both have with comparable shapes, and notes on everything else.

    Raises:
        ValueError: there is no such name.
    """
    shared, shapes, types, renamed, cut = [], [], [], [], []
    for name in base.tensors:
        if name not in rl.tensors:
            continue
        one, other = base.tensors[name], rl.tensors[name]
        if one.shape != other.shape:
            if place(name)[2] in ("embedding", "head") and one.shape[1:] == other.shape[1:]:
                cut.append(f"{name}: {one.shape[0]} and {other.shape[0]} rows, the first {_rows(one, other)} compared")
            else:
                shapes.append(f"{name}: {one.shape} and {other.shape}, left out")
                continue
        if one.dtype != other.dtype:
            types.append(f"{name}: {one.dtype} and {other.dtype}, compared in BF16")
        if one.name != other.name:
            renamed.append(f"{one.name} = {other.name}")
        shared.append(name)
    if not shared:
        raise ValueError(f"{base.path} and {rl.path} have no parameter of one name and shape; are they one model?")
    notes = {
        "only in base": tuple(base.tensors[name].name for name in base.tensors if name not in rl.tensors),
        "only in rl": tuple(rl.tensors[name].name for name in rl.tensors if name not in base.tensors),
        "other shape": tuple(shapes),
        "rows cut to the common ones": tuple(cut),
        "other type": tuple(types),
        "renamed": tuple(renamed),
        "tied, counted once": tuple(sorted({*base.tied, *rl.tied})),
        "buffers, not counted": tuple(sorted({*base.skipped, *rl.skipped})),
    }
    return shared, {what: names for what, names in notes.items() if names}


def common_shape(name: str, *checkpoints: Checkpoint) -> tuple[int, ...]:
    """The shape that is compared: that of the base, cut to the rows that all have."""
    stored = [checkpoint.tensors[name] for checkpoint in checkpoints]
    return (_rows(*stored), *stored[0].shape[1:]) if stored[0].shape else ()


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a rank worth asking for: two axes longer than one, and no norm."""
    return len(shape) == 2 and min(shape) > 1 and place(name)[2] != "norm"


def _rows(*stored: Stored) -> int:
    return min(one.shape[0] for one in stored) if stored[0].shape else 1
