"""From what a user calls a model (a pair, a folder, a hub name, an organism) to the folder its weights lie in."""

from __future__ import annotations

from pathlib import Path

from hooks.pair import Pair


def paths_of(pair_or_base: Pair | str | Path, rl: str | Path | None = None) -> tuple[Path, Path]:
    """Folders or files of base and RL weights.

    Accepts a pair (its models' ``path``), two paths, the name of an organism, or hub names whose snapshots are already
    on this machine; nothing is downloaded.

    Raises:
        FileNotFoundError: no such folder, and no local snapshot of that name.
        ValueError: one model where two are needed, or a LoRA adapter that is not merged on disk.
    """
    if isinstance(pair_or_base, Pair):
        if rl is not None:
            raise ValueError("Give a pair, or a base and an RL checkpoint, not both.")
        return _folder(pair_or_base.base.path), _folder(pair_or_base.rl.path)
    if rl is None:
        if str(pair_or_base).startswith("organism:"):
            from hooks.organisms import resolve_pair

            return resolve_pair(str(pair_or_base))
        raise ValueError(f"Only {pair_or_base} was given; a comparison needs a base and an RL checkpoint.")
    return _folder(pair_or_base), _folder(rl)


def _folder(name: str | Path) -> Path:
    """The folder of one model, through the organisms or the hub's local cache where it is no path."""
    path = Path(name)
    if path.exists():
        return path
    text = str(name)
    if text.startswith("organism:"):
        from hooks.organisms import resolve

        return resolve(text)
    whole, plus, adapter = text.partition("+")
    if plus and Path(adapter).exists():
        raise ValueError(
            f"{adapter} is a LoRA adapter on {whole}, merged only in memory; save the merged model "
            f"(pair.rl.net.save_pretrained) and compare that folder."
        )
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(snapshot_download(text, local_files_only=True))
        except LocalEntryNotFoundError as error:
            raise FileNotFoundError(
                f"{text} is not on this machine; download it first (hf download {text})."
            ) from error
    raise FileNotFoundError(f"No checkpoint at {text}; give a local folder or a .safetensors file.")
