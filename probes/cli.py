"""The command ``whenlens``: the main job and its stages, from a shell.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import typer

from probes.commands import (
    activations,
    claims,
    doctor,
    graft,
    hybrid,
    organisms,
    passk,
    route,
    steer,
    study,
    sweep,
    weights,
)
from probes.commands.terminal import app

COMMANDS = (study, claims, route, activations, sweep, weights, graft, hybrid, steer, passk, organisms, doctor)
"""The modules whose import put their commands into the application, in the order of ``--help``."""


def main() -> None:
    """Entry point: known errors end in one sentence, Ctrl-C leaves a study that goes on."""
    try:
        app()
    except KeyboardInterrupt:
        typer.secho("Stopped. The same command goes on where it stopped.", err=True)
        raise SystemExit(130) from None
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
