"""Directions of other programs, out and in: GGUF control vectors, repeng's and steering-vectors' objects.

Layers count from 0 and name a block's output everywhere here, so that ``direction.N`` of a GGUF control vector
(llama.cpp, repeng) is ``resid_post.N``.  llama.cpp has no control at layer 0.  These formats hold vectors and nothing
about them: what comes in has no weights hash, no typical norm and no scores, so its origin stays unknown and a relative
dose has to wait until the norm was measured.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hooks.direction import Direction
from hooks.rollouts import write_whole
from hooks.sites import Site

MAGIC = b"GGUF"
ALIGNMENT = 32
LAYER_KINDS = {"decoder_block": "resid_post", "self_attn": "attn_out", "mlp": "mlp_out"}
"""Layer types of steering-vectors and the sites they are."""
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def to_gguf(directions: Direction | Sequence[Direction], path: str | Path, *, model_hint: str) -> Path:
    """Write directions as one GGUF control vector, float32, and return its path.

    Args:
        directions: at ``resid_post`` sites of different layers, of one width.
        path: the file, written whole or not at all.
        model_hint: the architecture as llama.cpp calls it, for instance "llama" or "qwen2".

    Raises:
        ValueError: for other sites, two directions at one layer, or layer 0, which the format does not have.
    """
    listed = [directions] if isinstance(directions, Direction) else list(directions)
    layers = [one.site.layer for one in listed]
    for one in listed:
        if one.site.kind != "resid_post" or one.site.layer == 0:
            raise ValueError(f"a GGUF control vector acts on resid_post of layer 1 and above, not at {one.site}")
    if not listed or len(set(layers)) < len(layers) or len({one.d_model for one in listed}) > 1:
        raise ValueError(f"a GGUF control vector has one direction a layer, all of one width; the layers were {layers}")
    values = [("general.architecture", "controlvector"), ("controlvector.model_hint", model_hint)]
    head = MAGIC + struct.pack("<IQQ", 3, len(listed), len(values) + 1)
    head += b"".join(_text(key) + struct.pack("<I", _STRING) + _text(value) for key, value in values)
    head += _text("controlvector.layer_count") + struct.pack("<II", 4, len(listed))
    data = b""
    for one in listed:
        data += b"\0" * (-len(data) % ALIGNMENT)
        head += _text(f"direction.{one.site.layer}") + struct.pack("<IQIQ", 1, one.d_model, 0, len(data))
        data += one.vector.numpy().astype("<f4").tobytes()
    content = head + b"\0" * (-len(head) % ALIGNMENT) + data + b"\0" * (-len(data) % ALIGNMENT)
    return write_whole(Path(path), lambda file: Path(file).write_bytes(content))


def from_gguf(path: str | Path, *, label: str = "") -> list[Direction]:
    """Read a GGUF control vector (of repeng, llama.cpp or :func:`to_gguf`), one direction a layer, lowest first.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where the file is no GGUF control vector in float32 or float16.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no control vector at {path}; name a GGUF file")
    file = io.BytesIO(path.read_bytes())
    try:
        values, tensors = _header(file, path)
        start = file.tell() + -file.tell() % int(values.get("general.alignment", ALIGNMENT))
        found = {
            int(name.removeprefix("direction.")): _tensor(file, start + offset, width, kind, path)
            for name, (width, kind, offset) in tensors.items()
            if name.startswith("direction.")
        }
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is cut off or no GGUF file: {error}") from error
    if not found:
        raise ValueError(f"{path} is a GGUF file without a control vector in it (no tensor direction.N)")
    hint = str(values.get("controlvector.model_hint", ""))
    return [
        _bare(found[layer], Site("resid_post", layer), "GGUF control vector", hint, label) for layer in sorted(found)
    ]


def from_repeng(vector: Any, *, label: str = "") -> list[Direction]:
    """Take over a ``repeng.ControlVector`` (its ``directions``: layer to array), one direction a layer.

    repeng counts layers from the end with negative numbers; those cannot be placed without the model and are refused.
    """
    directions: Mapping[int, Any] = vector.directions
    if any(layer < 0 for layer in directions):
        raise ValueError("the control vector has negative layers; count them from 0 first")
    model = str(getattr(vector, "model_type", ""))
    return [
        _bare(np.asarray(directions[layer]), Site("resid_post", int(layer)), "repeng", model, label)
        for layer in sorted(directions)
    ]


def from_steering_vectors(vector: Any, *, label: str = "") -> list[Direction]:
    """Take over a ``steering_vectors.SteeringVector`` (``layer_activations`` and ``layer_type``), one a layer.

    Raises:
        ValueError: for a layer type that is no site here.
    """
    if vector.layer_type not in LAYER_KINDS:
        raise ValueError(f"the layer type {vector.layer_type!r} is no site; known are {', '.join(LAYER_KINDS)}")
    kind, activations = LAYER_KINDS[vector.layer_type], vector.layer_activations
    return [
        _bare(activations[layer], Site(kind, int(layer)), "steering-vectors", "", label)
        for layer in sorted(activations)
    ]


def to_repeng(directions: Direction | Sequence[Direction], *, model_type: str) -> Any:
    """Make a ``repeng.ControlVector`` of directions at ``resid_post`` of different layers, float32.

    repeng adds ``coeff`` times the vector at every token, so its ``coeff`` is the ``alpha`` of steering here.

    Raises:
        ModuleNotFoundError: where repeng is not installed.
        ValueError: for other sites, or two directions at one layer.
    """
    kind, by_layer = _by_layer(directions)
    if kind != "resid_post":
        raise ValueError(f"repeng steers at the output of a layer (resid_post), not at {kind}")
    try:
        from repeng import ControlVector
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "repeng is not installed: pip install repeng, or write a file with to_gguf"
        ) from error
    return ControlVector(model_type, {layer: one.vector.numpy().copy() for layer, one in by_layer.items()})


def to_steering_vectors(directions: Direction | Sequence[Direction]) -> Any:
    """Make a ``steering_vectors.SteeringVector`` of directions at one kind of site and different layers, float32.

    Its ``multiplier`` is the ``alpha`` of steering here; without ``min_token_index`` it acts on every token.

    Raises:
        ModuleNotFoundError: where steering-vectors is not installed.
        ValueError: for a site it has no layer type for, or two directions at one layer.
    """
    kind, by_layer = _by_layer(directions)
    types = {site: name for name, site in LAYER_KINDS.items()}
    if kind not in types:
        raise ValueError(f"steering-vectors has no layer type for {kind}; it has {', '.join(types)}")
    try:
        from steering_vectors import SteeringVector
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("steering-vectors is not installed: pip install steering-vectors") from error
    return SteeringVector({layer: one.vector.clone() for layer, one in by_layer.items()}, types[kind])


def _by_layer(directions: Direction | Sequence[Direction]) -> tuple[str, dict[int, Direction]]:
    """The kind of site, and the direction at each layer.

    Raises:
        ValueError: for none, for several kinds of sites, or for two at one layer.
    """
    listed = [directions] if isinstance(directions, Direction) else list(directions)
    kinds = sorted({one.site.kind for one in listed})
    found = {one.site.layer: one for one in sorted(listed, key=lambda one: one.site.layer)}
    if len(kinds) != 1 or len(found) < len(listed):
        sites = ", ".join(str(one.site) for one in listed)
        raise ValueError(f"one vector a layer at one kind of site is needed; the sites were {sites}")
    return kinds[0], found


def _bare(vector: Any, site: Site, source: str, model: str, label: str) -> Direction:
    return Direction(
        torch.as_tensor(vector).detach().float().flatten(),
        site,
        kind="imported",
        model=model,
        origin=f"imported from {source}",
        label=label,
    )


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _header(file: io.BytesIO, path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, int, int]]]:
    if file.read(4) != MAGIC:
        raise ValueError(f"{path} is not a GGUF file")
    version, n_tensors, n_values = _read(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"{path} is GGUF version {version}; versions 2 and 3 can be read")
    values = {}
    for _ in range(n_values):
        key = _read_text(file)
        values[key] = _read_value(file, _read(file, "I")[0])
    tensors = {}
    for _ in range(n_tensors):
        name, (n_dims,) = _read_text(file), _read(file, "I")
        width = int(np.prod(_read(file, f"{n_dims}Q")))
        kind, offset = _read(file, "IQ")
        tensors[name] = (width, kind, offset)
    return values, tensors


def _tensor(file: io.BytesIO, start: int, width: int, kind: int, path: Path) -> np.ndarray:
    if kind not in (0, 1):
        raise ValueError(f"{path} holds quantised directions (type {kind}); only float32 and float16 can be read")
    stored = np.dtype("<f4" if kind == 0 else "<f2")
    file.seek(start)
    content = file.read(width * stored.itemsize)
    if len(content) < width * stored.itemsize:
        raise ValueError(f"{path} is cut off: a direction of {width} numbers is not all there")
    return np.frombuffer(content, dtype=stored).astype(np.float32)


def _read(file: io.BytesIO, kinds: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{kinds}", file.read(struct.calcsize(f"<{kinds}")))


def _read_text(file: io.BytesIO) -> str:
    return file.read(_read(file, "Q")[0]).decode()


def _read_value(file: io.BytesIO, kind: int) -> Any:
    if kind == _STRING:
        return _read_text(file)
    if kind == _ARRAY:
        inner, count = _read(file, "IQ")
        return [_read_value(file, inner) for _ in range(count)]
    if kind not in _NUMBERS:
        raise ValueError(f"GGUF has no value of type {kind}; the file is damaged")
    return _read(file, _NUMBERS[kind])[0]
