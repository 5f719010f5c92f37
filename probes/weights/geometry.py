"""Does RL move the weights that carry the base? The update beside the base's own principal directions.

For a base matrix ``W`` with singular values ``s_1 >= s_2 >= ...`` and its tuned twin ``W'`` (arXiv 2511.08567):

* principal weights: the largest entries in size of the rank-``k`` reconstruction ``U_k S_k V_k^T``, a share ``top`` of
  all; ``overlap`` is the share of the changed entries (in bfloat16) that are principal. The null of random places is
  ``top``, its error that of drawing without replacement; ``overlap_sizes`` is what is expected where only the binade of
  each base weight decides (bfloat16 hides small changes of large weights, and principal weights are large);
  ``overlap_small`` is the same with the smallest entries of ``W`` in place of the principal ones;
* spectral drift: ``||s' - s|| / ||s||``, and as a part of the update ``||s' - s|| / ||W' - W||``, at most one (Mirsky);
* rotation: principal angles between the top-``k`` left (right) singular subspaces of ``W`` and ``W'``: the largest, the
  mean, and ``kept``, the mean squared cosine.

Beside each stands a random update of the same norm: the same changes at shuffled places. The defaults, ``k`` a tenth of
the short side and ``top`` a tenth of the entries, are the choice of this package.

Assumptions: full precision of the update is what the files hold. Every figure is exact for one pair of files: one run.
What it does not show: whether principal weights matter more for behaviour than others; and an angle at a small gap
``s_k - s_{k+1}`` is large for any update, which the random one shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from hooks.pair import Pair
from probes.weights.counts import difference
from probes.weights.files import Checkpoint, place
from probes.weights.matching import common_shape, is_matrix, line_up
from probes.weights.shapes import Geometry
from probes.weights.sources import paths_of
from probes.weights.spectrum import shuffled

TOP = 0.1
"""Share of the entries that are principal."""
PART = 0.1
"""Part of the short side that ``k`` is where it is not given."""
KINDS = ("attention", "mlp")


@dataclass(frozen=True)
class Frame:
    """Singular values of a matrix and its first singular vectors."""

    values: Float64[Tensor, "rank"]
    """All singular values, descending."""
    left: Float64[Tensor, "row k"]
    """Left singular vectors of the first ``k``."""
    right: Float64[Tensor, "column k"]
    """Right ones."""


def geometry(
    pair_or_base: Pair | str | Path,
    rl: str | Path | None = None,
    *,
    k: int | None = None,
    top: float = TOP,
    kinds: Sequence[str] = KINDS,
    null: bool = True,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Geometry:
    """Principal-weight overlap, spectral drift and rotation of every matrix, a row a matrix.

    One matrix of each checkpoint is held at a time, and decomposed in float64 on ``device``; ``null=False`` leaves out
    the decomposition of the random update. ``kinds`` are those of :func:`probes.weights.files.place`.

    Raises:
        FileNotFoundError: a checkpoint is not there.
        ValueError: ``top`` is not between 0 and 1, ``k`` is below 1, or there is no matrix of these kinds.

    It does not show whether principal weights matter more than others.
    """
    if not 0 < top < 1 or (k is not None and k < 1):
        raise ValueError(f"top is a share between 0 and 1 and k at least 1, not top={top} and k={k}.")
    base_path, rl_path = paths_of(pair_or_base, rl)
    rows: list[dict[str, Any]] = []
    with Checkpoint.open(base_path) as base, Checkpoint.open(rl_path) as tuned:
        shared, notes = line_up(base, tuned)
        shapes = {name: common_shape(name, base, tuned) for name in shared}
        chosen = [name for name in shared if is_matrix(name, shapes[name]) and place(name)[2] in kinds]
        if not chosen:
            raise ValueError(f"{base_path} and {rl_path} share no matrix of the kinds {', '.join(kinds)}.")
        for name in chosen:
            layer, module, kind = place(name)
            one, other = (checkpoint.rows(name, 0, shapes[name][0]) for checkpoint in (base, tuned))
            of_k = k or max(1, round(PART * min(shapes[name])))
            twin = shuffled(difference(one, other), seed=seed, label=f"geometry {name}") if null else None
            where = {"tensor": base.tensors[name].name, "layer": layer, "module": module, "kind": kind}
            rows.append(where | measure(one, other, k=of_k, top=top, twin=twin, device=device))
            if progress is not None:
                progress(len(rows), len(chosen))
    options = {"k": k, "top": top, "kinds": list(kinds), "null": null, "seed": seed}
    return Geometry.of(rows, base=str(base_path), rl=str(rl_path), notes=notes, options=options)


def measure(
    one: Float[Tensor, "row column"],
    other: Float[Tensor, "row column"],
    *,
    k: int,
    top: float = TOP,
    twin: Float[Tensor, "row column"] | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """All measures of one matrix; ``twin`` is a random update of the same norm, which fills the ``_null`` entries.

    Raises:
        ValueError: a value is not finite.

    It does not show whether principal weights matter more than others.
    """
    k = min(k, min(one.shape))
    changed = one.bfloat16() != other.bfloat16()
    delta = difference(one, other).to(device).double()
    base = one.to(device).double()
    if not bool(torch.isfinite(delta).all() and torch.isfinite(base).all()):
        raise ValueError("A matrix holds values that are not finite in one checkpoint; repair it first.")
    start = decompose(base, k)
    out: dict[str, float] = {"k": float(k), "size": float(one.numel()), "changed": float(changed.sum())}
    out |= _overlaps(one, changed.flatten(), start, round(top * one.numel()))
    out["relative_norm"] = float(delta.norm() / base.norm()) if base.any() else math.nan
    out |= _moved(start, decompose(base + delta, k), delta)
    after = None if twin is None else _moved(start, decompose(base + twin.to(device).double(), k), delta)
    names = ("drift", "drift_of_update", "angle_left", "angle_right", "mean_left", "mean_right", "kept")
    return out | {f"{name}_null": math.nan if after is None else after[name] for name in names}


def decompose(matrix: Float64[Tensor, "row column"], k: int) -> Frame:
    """Singular values and the first ``k`` singular vectors of both sides, from the smaller Gram matrix.

    Values below about ``1e-8`` of the largest are rounding noise.  It does not show a basis where values are equal.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    gram = matrix @ matrix.T if wide else matrix.T @ matrix
    squares, vectors = torch.linalg.eigh(gram)
    values = squares.clamp_min(0).sqrt().flip(0)
    near = vectors.flip(1)[:, :k]
    far = (matrix.T if wide else matrix) @ near
    # An orthonormal basis also where a singular value is zero.
    far = torch.linalg.qr(far)[0]
    far = far * torch.where(((matrix.T if wide else matrix) @ near * far).sum(0) < 0, -1.0, 1.0)
    return Frame(values, near, far) if wide else Frame(values, far, near)


def principal(frame: Frame, count: int) -> Int64[Tensor, "entry"]:
    """Places in the flat matrix of the ``count`` largest entries of its rank-k reconstruction.

    It does not show which of them matter.
    """
    k = frame.left.shape[1]
    rebuilt = (frame.left * frame.values[:k]) @ frame.right.T
    return rebuilt.abs().float().flatten().topk(count).indices.cpu()


def angles(one: Float64[Tensor, "row k"], other: Float64[Tensor, "row k"]) -> Float64[Tensor, "k"]:
    """Principal angles in degrees between the spans of two orthonormal bases, ascending.

    Small angles from the sine, large ones from the cosine (Björck and Golub 1973), so that none loses digits.
    It does not show a rotation inside the span.
    """
    cosines = torch.linalg.svdvals(one.T @ other).clamp(max=1.0)
    sines = torch.linalg.svdvals(other - one @ (one.T @ other)).clamp(max=1.0).flip(0)
    return torch.where(cosines > 0.7, torch.asin(sines), torch.acos(cosines)).rad2deg()


def _overlaps(base: Tensor, changed: Bool[Tensor, "entry"], frame: Frame, count: int) -> dict[str, float]:
    count = max(1, count)
    chosen = torch.zeros(base.numel(), dtype=torch.bool)
    chosen[principal(frame, count)] = True
    small = torch.zeros_like(chosen)
    small[base.float().abs().flatten().topk(count, largest=False).indices.cpu()] = True
    n, moved = base.numel(), int(changed.sum())
    share = count / n
    binade = ((base.bfloat16().contiguous().view(torch.int16) >> 7) & 0xFF).flatten().long()
    every, own, of_these = (
        torch.bincount(part, minlength=256).double() for part in (binade, binade[changed.cpu()], binade[chosen])
    )
    by_size = float((own * of_these / every.clamp_min(1)).sum())
    left = (n - moved) / max(n - 1, 1)
    return {
        "overlap": int((chosen & changed).sum()) / moved if moved else math.nan,
        "overlap_null": share,
        "overlap_null_error": math.sqrt(share * (1 - share) / moved * left) if moved else math.nan,
        "overlap_sizes": by_size / moved if moved else math.nan,
        "overlap_small": int((small & changed).sum()) / moved if moved else math.nan,
        "principal_changed": int((chosen & changed).sum()) / count,
    }


def _moved(before: Frame, after: Frame, delta: Tensor) -> dict[str, float]:
    drift = float((after.values - before.values).norm())
    size, scale = float(delta.norm()), float(before.values.norm())
    left, right = angles(before.left, after.left), angles(before.right, after.right)
    kept = (left.deg2rad().cos().square().mean() + right.deg2rad().cos().square().mean()) / 2
    return {
        "drift": drift / scale if scale else math.nan,
        "drift_of_update": drift / size if size else math.nan,
        "angle_left": float(left.max()),
        "angle_right": float(right.max()),
        "mean_left": float(left.mean()),
        "mean_right": float(right.mean()),
        "kept": float(kept),
    }
