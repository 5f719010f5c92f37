"""Do the sites of this architecture mean what they say? A minute of checks on one model, each with its number.

Every check is a relative error between two ways to one thing (two module trees, a sum and its parts, a batch and a row
alone, a cache and none) and passes below the rounding of the dtype. The sites of both trees are compared on a few short
rows of random ids, so nothing about texts is assumed.

What a pass does not show: that a measure means anything on this model; only that what is read is what its name says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.model import Model
from hooks.padding import pad_left
from hooks.sites import FINE, KINDS, Site
from hooks.streams import stream
from hooks.tree import is_parallel

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Largest relative error that passes, by dtype; half precision gets 0.05."""
LENGTHS = (3, 9, 14)
"""Lengths of the rows that are read."""


@dataclass(frozen=True)
class Check:
    """One question to a model and its answer."""

    name: str
    passed: bool
    error: float | None
    """Relative error; None where the check could not run."""
    note: str = ""


def examine(model: Model, *, seed: int = 0) -> Iterator[Check]:
    """Check one model's sites, padding, cache and tokenizer; yields each answer as it comes.

    Args:
        model: any supported model; it is only read.
        seed: of the random ids.

    Returns:
        an iterator of checks; a check that cannot run fails with the reason as its note.

    It does not show that a measure is right; it shows that both trees and every name agree.
    """
    draw = stream(seed, "checkup")
    rows = [[int(token) for token in draw.integers(0, model.d_vocab, length)] for length in LENGTHS]
    limit = TOLERANCE.get(model.dtype, 0.05)
    for name, ask in CHECKS:
        try:
            with torch.no_grad():
                error, note = ask(model, rows)
        except (ValueError, RuntimeError, KeyError, AttributeError) as reason:
            yield Check(name, False, None, " ".join(str(reason).split())[:200])
            continue
        yield Check(name, error <= limit, error, note)


def _off(one: Float[Tensor, "..."], other: Float[Tensor, "..."]) -> float:
    """Norm of a difference over the norm of the second; infinite where either is not finite."""
    error = float((one.float() - other.float()).norm() / other.float().norm().clamp_min(1e-12))
    return error if error == error else float("inf")


def _logits(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    ids = torch.tensor([rows[-1]], device=model.device)
    return _off(model.unembed(model.backbone(ids)), model.net(ids, use_cache=False).logits), ""


def _residual(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    scaled = "the family scales what it adds: use resid_pre and resid_post only"
    error = model.residual_error
    return error, scaled if error > TOLERANCE.get(model.dtype, 0.05) else ""


def _kinds(model: Model) -> list[str]:
    parallel = any(is_parallel(block) for block in model.blocks)
    parts = model.residual_error <= TOLERANCE.get(model.dtype, 0.05)
    kinds = KINDS if parts else ("resid_pre", "resid_post")
    return [kind for kind in kinds if not (parallel and kind == "resid_mid")]


def _trees(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    worst, where = 0.0, ""
    for kind in _kinds(model):
        bridged = model.bridge_activations(rows, f"{kind}.*")
        seen: dict[str, list[Tensor]] = {}

        def keep(site: Site, tensor: Tensor, into: dict[str, list[Tensor]] = seen) -> None:
            into.setdefault(str(site), []).append(tensor[0].clone())

        for row in rows:
            with model.watch(f"{kind}.*", keep):
                model.net(torch.tensor([row], device=model.device), use_cache=False)
        for name, values in seen.items():
            error = max(_off(one, other) for one, other in zip(values, bridged[name], strict=True))
            if error > worst:
                worst, where = error, f"worst at {name}"
    return worst, where


def _attention(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    layer = model.n_layers // 2
    names = [f"{kind}.{layer}" for kind in FINE]
    found = {name.split(".")[0]: values for name, values in model.bridge_activations(rows, names).items()}
    worst = 0.0
    for pattern, v, z in zip(found["pattern"], found["v"], found["z"], strict=True):
        heads = z.shape[1] // v.shape[1]
        mixed = torch.einsum("hqk,khd->qhd", pattern.float(), v.float().repeat_interleave(heads, dim=1))
        worst = max(worst, _off(mixed, z))
    return worst, f"layer {layer}"


def _padding(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    batch = pad_left(rows, pad_id=model.pad_id, device=model.device)
    together = model.net(**batch.inputs(), use_cache=False).logits
    alone = [model.net(torch.tensor([row], device=model.device), use_cache=False).logits[0] for row in rows]
    return max(_off(together[index, -len(row) :], alone[index]) for index, row in enumerate(rows)), ""


def _cache(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    ids = torch.tensor([rows[-1]], device=model.device)
    cache, parts = model.new_cache(), []
    for start, stop in ((0, 5), (5, 6), (6, ids.shape[1])):
        mask = torch.ones(1, stop, dtype=torch.long, device=model.device)
        parts.append(model.backbone(ids[:, start:stop], mask, past_key_values=cache, use_cache=True))
    return _off(torch.cat(parts, dim=1), model.backbone(ids)), ""


def _tokenizer(model: Model, rows: list[list[int]]) -> tuple[float, str]:
    """What comes back from a text must itself come back; a closed vocabulary may drop what it has no piece for."""

    def there_and_back(text: str) -> str:
        (ids,) = model.encode([text], template="none")
        return model.decode(ids).strip()

    text = "2 + 34 = 36, so the answer is 36."
    once = there_and_back(text)
    stable = not once or there_and_back(once) == once
    note = "" if once == text else f"{text!r} comes back as {once!r}: not every text fits this vocabulary"
    return 0.0 if stable else 1.0, note


CHECKS: tuple[tuple[str, Callable[[Model, list[list[int]]], tuple[float, str]]], ...] = (
    ("logits: layers + head = the whole model", _logits),
    ("residual stream = sum of its parts", _residual),
    ("sites equal on both module trees", _trees),
    ("attention pattern x v = z", _attention),
    ("a padded row = the row alone", _padding),
    ("with a cache = without", _cache),
    ("tokenizer gives its text back", _tokenizer),
)
"""Every question in order: its name, and what asks it and gives the relative error with a note."""
