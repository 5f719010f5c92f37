"""A LoRA adapter and its base as one plain folder of weights, for whatever compares files on disk.

Merged once into the user's cache, in the base's stored dtype, which is how adapters are deployed; what the rounding
does to a small update is then part of what is measured.  What this does not show: the unrounded update, which is what
runs where half precision is widened on loading.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hooks.cache import cache_root, whole_folder
from hooks.checkpoint import ADAPTER_FILE, Source, load_config, load_net, stored_dtype, without_bars


def merged_folder(source: Source) -> Path:
    """Folder of the merged weights of a source that has an adapter, made on first use.

    Args:
        source: a local base and a local adapter; a hub name does not say which weights it stands for tomorrow.

    Returns:
        a folder with ``config.json`` and safetensors, under ``merged/`` in the cache (``WHENLENS_CACHE``).

    Raises:
        ValueError: for a source without an adapter, a base that is no folder, or an adapter that does not fit.
        FileNotFoundError: if adapter or base lack their files.

    It holds no tokenizer: load the source itself to run the model.
    """
    if source.adapter is None:
        raise ValueError(f"{source.name} has no adapter; its own folder is what there is to compare.")
    if not source.local:
        raise ValueError(f"The base {source.path} is no folder; name the folder of its snapshot.")
    folder = cache_root() / "merged" / _key(source)
    if (folder / "config.json").is_file():
        return folder
    net = load_net(source, load_config(source), dtype=stored_dtype(source))
    with whole_folder(folder) as partial, without_bars():
        net.save_pretrained(partial)
    return folder


def _key(source: Source) -> str:
    digest = hashlib.sha256(f"{source.path}\0{source.revision}".encode())
    for file in sorted(Path(source.path).glob("*.safetensors")):
        state = file.stat()
        digest.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    adapter = Path(str(source.adapter))
    for name in (ADAPTER_FILE, "adapter_model.safetensors"):
        if not (adapter / name).is_file():
            raise FileNotFoundError(f"the adapter {source.adapter} holds no {name}; name the folder that has both")
        digest.update((adapter / name).read_bytes())
    return digest.hexdigest()[:20]
