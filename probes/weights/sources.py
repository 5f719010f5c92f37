"""From what a user calls a model (a pair, a folder, a hub name, an organism) to the folder its weights lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hooks.checkpoint import ADAPTER_FILE, Source, find_source
from hooks.merged import merged_folder
from hooks.model import Model
from hooks.pair import Pair


def paths_of(pair_or_base: Pair | str | Path, rl: str | Path | None = None) -> tuple[Path, Path]:
    """Folders or files of base and RL weights.

    Accepts a pair (its models' ``path``), two paths, the name of an organism, or hub names whose snapshots are already
    on this machine; nothing is downloaded.

    Raises:
        FileNotFoundError: no such folder, and no local snapshot of that name.
        ValueError: one model where two are needed, or an adapter that names no base.
    """
    if isinstance(pair_or_base, Pair):
        if rl is not None:
            raise ValueError("Give a pair, or a base and an RL checkpoint, not both.")
        return _loaded(pair_or_base.base), _loaded(pair_or_base.rl)
    if rl is None:
        if str(pair_or_base).startswith("organism:"):
            return _folder(f"{pair_or_base}:base"), _folder(f"{pair_or_base}:rl")
        raise ValueError(f"Only {pair_or_base} was given; a comparison needs a base and an RL checkpoint.")
    return _folder(pair_or_base), _folder(rl, adapter_base=str(pair_or_base))


def runs_of(
    pair_or_base: Pair | str | Path, runs: Mapping[str, str | Path] | Sequence[str | Path] | None = None
) -> tuple[Path, dict[str, Path]]:
    """The base's folder and that of each RL run by its name; a pair brings its RL model as the first run.

    An organism's name alone stands for its base and its RL seeds.  Paths are named by their last part.

    Raises:
        FileNotFoundError: no such folder, and no local snapshot of that name.
        ValueError: two runs of one name.
    """
    named: list[tuple[str, str | Path]] = []
    if isinstance(pair_or_base, Pair):
        base = _loaded(pair_or_base.base)
        named.append((pair_or_base.rl.name, _loaded(pair_or_base.rl)))
    elif str(pair_or_base).startswith("organism:") and str(pair_or_base).count(":") == 1:
        base, first = paths_of(pair_or_base)
        named += [(_last(f"{pair_or_base}:rl"), first), *(seeds_of(str(pair_or_base)).items() if runs is None else ())]
    else:
        base = _folder(pair_or_base)
    if isinstance(runs, Mapping):
        named += list(runs.items())
    else:
        named += [(_last(run), run) for run in runs or ()]
    out: dict[str, Path] = {}
    for name, path in named:
        if name in out:
            raise ValueError(f"Two runs are called {name!r}; give a mapping from names to paths.")
        out[name] = _folder(path, adapter_base=str(base))
    return base, out


def seeds_of(organism: str) -> dict[str, Path]:
    """Further RL seeds that ship with an organism, by their names (``rl-seed1``, …); empty where there are none."""
    from hooks.organisms import ORGANISMS, resolve

    known = ORGANISMS.get(organism.removeprefix("organism:"))
    members = known.members if known is not None else ()
    return {name: resolve(f"organism:{known.name}:{name}") for name in members if known and name.startswith("rl-seed")}


def _last(run: str | Path) -> str:
    text = str(run)
    return text.rpartition(":")[2] if text.startswith("organism:") else Path(text).name


def _loaded(model: Model) -> Path:
    """The folder of a loaded model's weights; with its adapter merged, if it has one."""
    if model.adapter is None:
        return _folder(model.path, revision=model.revision)
    return _merged(Source(model.name, model.path, model.revision, model.adapter))


def _merged(source: Source) -> Path:
    """The folder of a source with its adapter merged; of a hub name the snapshot that is on this machine."""
    base, adapter = _folder(source.path, revision=source.revision), _snapshot(str(source.adapter))
    return merged_folder(Source(source.name, str(base), adapter=str(adapter)))


def _folder(name: str | Path, *, adapter_base: str | None = None, revision: str | None = None) -> Path:
    """The folder of one model, through the organisms or the hub's local cache where it is no path.

    A LoRA adapter is merged into its base on disk, once.
    """
    path, text = Path(name), str(name)
    if path.is_file():
        return path
    if path.exists() and not (path / ADAPTER_FILE).is_file():
        return path
    if path.exists() or text.startswith("organism:") or ("+" in text and Path(text.partition("+")[2]).exists()):
        source = find_source(name, adapter_base=adapter_base)
        return Path(source.path) if source.adapter is None else _merged(source)
    return _snapshot(text, revision=revision)


def _snapshot(text: str, *, revision: str | None = None) -> Path:
    """A folder, or that of a hub name where it was downloaded before."""
    if Path(text).is_dir():
        return Path(text)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(snapshot_download(text, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError as error:
            raise FileNotFoundError(
                f"{text} is not on this machine; download it first (hf download {text})."
            ) from error
    raise FileNotFoundError(f"No checkpoint at {text}; give a local folder or a .safetensors file.")
