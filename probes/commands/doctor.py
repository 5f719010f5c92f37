"""``whenlens doctor``: is this machine ready, and do the hooked sites of my model mean what they say?"""

from __future__ import annotations

import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.terminal import Json, app, bar, say_json, stop

NEEDED = ("torch", "transformers", "transformer-lens", "scikit-learn", "safetensors", "pyarrow", "plotly")
OPTIONAL = {
    "ray": "clusters (extra cluster)",
    "trl": "training organisms (extra organisms)",
    "gguf": "the real language model (extra organisms)",
    "jupytext": "notebooks (extra notebooks)",
}
SPACE = 2 * 2**30
"""Bytes of free disk below which a study may stop in the middle."""


@app.command(epilog="Example: whenlens doctor organism:latent:base")
def doctor(
    model: Annotated[str | None, typer.Argument(help="A checkpoint to examine: folder, hub id or organism.")] = None,
    device: Annotated[str, typer.Option(help="Device of the model.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    json_: Json = False,
) -> None:
    """Check the machine, the versions and, if one is named, a model: exit code 1 if something fails."""
    rows = [*_machine(), *_versions()]
    described = ""
    if model is not None:
        from hooks.checkup import CHECKS, examine
        from hooks.model import Model

        try:
            with bar("loading", quiet=json_):
                loaded = Model.load(model, device=device, dtype=dtype)
        except (ValueError, FileNotFoundError) as error:
            rows.append({"what": f"load {model}", "passed": False, "value": None, "note": str(error)})
        else:
            described = repr(loaded)
            rows.append({"what": f"load {model}", "passed": True, "value": None, "note": described})
            with bar("checks of the model", quiet=json_) as move:
                for done, one in enumerate(examine(loaded), start=1):
                    rows.append({"what": one.name, "passed": one.passed, "value": one.error, "note": one.note})
                    move(done, len(CHECKS))
    failed = [row["what"] for row in rows if not row["passed"]]
    if json_:
        say_json({"passed": not failed, "failed": failed, "checks": rows})
    else:
        _show(rows)
    if failed:
        stop(f"{len(failed)} of {len(rows)} checks failed: {', '.join(failed)}.", code=1)


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "check", "relative error", "note")
    for row in rows:
        mark = "[green]ok[/green]" if row["passed"] else "[red]fails[/red]"
        error = "" if row["value"] is None else f"{row['value']:.1e}"
        table.add_row(mark, escape(row["what"]), error, escape(row["note"]))
    Console().print(table)


def _machine() -> list[dict[str, Any]]:
    import torch

    enough = sys.version_info >= (3, 11)
    free = shutil.disk_usage(Path.cwd()).free
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return [
        {"what": "python", "passed": enough, "value": None, "note": platform.python_version()},
        {"what": "device", "passed": True, "value": None, "note": place},
        {
            "what": "free disk here",
            "passed": free > SPACE,
            "value": None,
            "note": f"{free / 2**30:.0f} GiB" + ("" if free > SPACE else "; a study wants 2 GiB"),
        },
    ]


def _versions() -> list[dict[str, Any]]:
    rows = []
    for name in NEEDED:
        try:
            rows.append({"what": name, "passed": True, "value": None, "note": version(name)})
        except PackageNotFoundError:
            rows.append({"what": name, "passed": False, "value": None, "note": f"missing: pip install {name}"})
    for name, use in OPTIONAL.items():
        note = version(name) if find_spec(name) else f"not installed; needed for {use}"
        rows.append({"what": f"{name} (optional)", "passed": True, "value": None, "note": note})
    return rows
