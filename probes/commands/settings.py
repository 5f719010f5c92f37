"""``--settings FILE``: a command's options from a file, and the options of a run written back as such a file.

A setting has the name of its flag, with ``-`` or ``_``.  A flag wins over the file, the file over the default.  Values
are taken as the words they were written as, and become numbers where the flag would make them so: ``alpha: -8:8:9`` is
no time of day, ``template: none`` is no missing value.  The ``study.json`` of a study is such a file too, and so is the
``settings.yaml`` that other commands leave in their folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from probes.commands.terminal import stop

KEPT = "settings.yaml"
"""Where a command that fills a folder writes the options it ran with."""
_UNSET = frozenset({"settings", "json_", "help"})
"""Options that say how a call is made, not what is done."""


def _take(ctx: Any, value: Path | None) -> Path | None:
    """Put the file's settings where the options look when no flag is given."""
    if value is not None and not ctx.resilient_parsing:
        try:
            ctx.default_map = {**(ctx.default_map or {}), **_matched(ctx.command, read_settings(value), value)}
        except (ValueError, FileNotFoundError) as error:
            stop(str(error))
    return value


Settings = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        is_eager=True,
        callback=_take,
        help="YAML of these options, or the study.json or settings.yaml of a run; flags win over it.",
    ),
]


class WithSettings(TyperCommand):
    """A command that takes ``--settings`` and leaves its own settings in the folder it fills."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the file where a value came from it and is wrong."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            name = str(getattr(error.param, "name", None))
            if name in (ctx.default_map or {}) and not given(ctx, name):
                error.message = f"{error.message} (from the settings file)"
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what it ran with is kept where it ended well or was stopped by hand."""
        try:
            done = super().invoke(ctx)
        except KeyboardInterrupt:
            _keep(ctx)
            raise
        _keep(ctx)
        return done


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file, every value a text, a list of texts, a truth value or None.

    Of a ``study.json`` they are what the study was told, and ``out`` is its folder.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where the file is no YAML, or no mapping of names to values.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"There are no settings at {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found = json.loads(text, parse_int=str, parse_float=str)
        else:
            # Not an unsafe loader: it is the safe one that makes nothing but texts, lists and mappings.
            found = yaml.load(text, Loader=_words())
    except (yaml.YAMLError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as YAML: {first}{_place(error)}.") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}; settings are lines such as `seed: 1`.")
    if isinstance(found.get("config"), dict) and "key" in found:
        return {**found["config"], "out": str(path.parent)}
    return {str(name): value for name, value in found.items()}


def given(ctx: Any, name: str) -> bool:
    """Whether an option stands on the command line, not only in a file."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def effective(ctx: Any) -> dict[str, Any]:
    """What a command runs with, by the names of its flags; options without a value are left out."""
    out: dict[str, Any] = {}
    for param in ctx.command.params:
        value = ctx.params.get(str(param.name))
        if param.name in _UNSET or value is None or value in ([], ()):
            continue
        out[_names(param)[-1]] = _plain(value)
    return out


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"


def _words() -> Any:
    """A safe YAML loader that knows texts, lists, mappings and null, and makes no numbers, dates or minutes."""
    import yaml

    known = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
    resolvers = {
        first: [pair for pair in pairs if pair[0] in known]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return type("Words", (yaml.SafeLoader,), {"yaml_implicit_resolvers": resolvers})


def _names(param: Any) -> list[str]:
    """The names a setting may have: of the parameter, and of its flags; the flag that is shown first stands last."""
    flags = [flag.lstrip("-").replace("-", "_") for flag in param.opts if flag.startswith("--")]
    return [str(param.name), *reversed(flags)]


def _matched(command: Any, settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings by the command's own parameter names.

    Raises:
        ValueError: for a name the command does not have, naming the nearest one it has.
    """
    known = {name: param for param in command.params if param.name not in _UNSET for name in _names(param)}
    out: dict[str, Any] = {}
    for written, value in settings.items():
        name = written.lstrip("-").replace("-", "_")
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"{path}: `whenlens {command.name}` has no setting {written!r}; the nearest is {near!r}.")
        param = known[name]
        if value is not None and value != []:
            out[str(param.name)] = _worded(param, value, f"{path}: the setting {written!r}")
    return out


def _worded(param: Any, value: Any, where: str) -> Any:
    """A value as the words a flag would be given."""
    if isinstance(value, dict) and param.multiple:
        # Options such as --contrast ROLE=CHECKPOINT; with nothing in it, none is meant, not the default.
        value = [f"{name}={one}" for name, one in value.items()] or "none"
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value)):
        raise ValueError(f"{where} is one value or a list of values, not a mapping.")
    listed = [_word(one) for one in (value if isinstance(value, list) else [value])]
    if param.multiple or param.nargs == -1:
        return listed
    # Options such as --C 0.01,1,100 take their list as one word.
    return ",".join(listed)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _keep(ctx: Any) -> None:
    """Write the effective settings into the folder; a study has them in its study.json already."""
    out = ctx.params.get("out")
    if out is None or not Path(out).is_dir() or (Path(out) / "study.json").exists():
        return
    import yaml

    from hooks.rollouts import write_whole

    text = yaml.safe_dump(effective(ctx), sort_keys=False, allow_unicode=True)
    write_whole(Path(out) / KEPT, lambda path: path.write_text(text, encoding="utf-8"))
