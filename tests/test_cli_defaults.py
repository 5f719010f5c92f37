"""The command line and the Python functions have the same names and the same defaults."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from hooks.capture import capture
from hooks.generate import generate
from hooks.pair import Pair
from hooks.score import score
from probes import samples, weights
from probes.cli import app
from probes.cluster.sweeping import SweepJob
from probes.latent.grid import steering_grid
from probes.latent.sweep import sweep
from probes.report import write_beside
from probes.routing.grafting import graft
from probes.routing.published import check_published
from probes.study.routed import Fitting

MODELS = ("rl", "dtype", "device")
WRITING = ("temperature", "max_new_tokens", "seed", "batch_size")
BACKING: list[tuple[str, Callable[..., Any], tuple[str, ...]]] = [
    ("capture", capture, ("sites", "positions", "reduce", "shard")),
    ("capture", Pair.load, MODELS),
    ("score", score, ("temperature", "top_p", "top_k")),
    ("score", Pair.load, MODELS),
    ("sweep", sweep, ("split", "folds", "n_boot", "seed")),
    ("sweep", SweepJob, ("texts", "problems", "n_problems", "written_by", "labels", "annotator", "positions", "side",
                         "sites", "twin", "twin_store", "shard_tokens")),
    ("sweep", Pair.load, MODELS),
    ("steer", steering_grid, ("relative", "annotator", "n_boot", "seed")),
    ("steer", Pair.load, MODELS),
    ("route", Fitting, ("annotator", "dose")),
    ("route", generate, (*WRITING, "template")),
    ("route", Pair.load, MODELS),
    ("graft", graft, ("parts", *WRITING)),
    ("graft", Pair.load, MODELS),
    ("weights", weights.compare, ("rl", "ranks", "null", "tolerance", "eta", "device", "seed")),
    ("weights", weights.geometry, ("rl", "k", "top", "null", "device", "seed")),
    ("passk", samples.passk, ("contrast", "n_boot", "seed")),
    ("hybrid", check_published, ("paths", "seed")),
]  # fmt: skip
"""A command, the function behind it, and the settings that both have."""


def defaults_of(name: str) -> dict[str, Any]:
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    return {one.name: one.default for one in command.params}


@pytest.mark.parametrize(("name", "behind", "settings"), BACKING, ids=lambda value: getattr(value, "__name__", None))
def test_a_setting_has_one_name_and_one_default(
    name: str, behind: Callable[..., Any], settings: tuple[str, ...]
) -> None:
    shown, own = defaults_of(name), inspect.signature(behind).parameters
    for setting in settings:
        expected = own[setting].default
        if expected is inspect.Parameter.empty:
            assert shown[setting] is None, (name, setting)
        else:
            assert shown[setting] == expected, (name, setting)


def test_a_sweep_draws_as_many_texts_as_its_function() -> None:
    shown, drawn = defaults_of("sweep"), SweepJob(Path("out")).sampling
    assert (shown["samples"], shown["temperature"], shown["max_new_tokens"], shown["batch_size"], shown["seed"]) == (
        drawn.n, drawn.temperature, drawn.max_new_tokens, drawn.batch_size, drawn.seed
    )  # fmt: skip


def test_every_setting_of_a_study_is_an_option_that_leaves_its_default_to_the_study() -> None:
    from probes.study import StudyConfig

    shown = defaults_of("study")
    assert set(StudyConfig.model_fields) <= set(shown)
    for name in StudyConfig.model_fields:
        if name != "out":
            assert not shown[name], name


def test_the_help_of_a_study_names_the_defaults_of_the_study() -> None:
    from probes.study import StudyConfig

    command = get_command(app).commands["study"]  # type: ignore[attr-defined]
    told = {one.name: one.show_default for one in command.params if isinstance(one.show_default, str)}
    small = StudyConfig(base="organism:latent", out=Path("x"))
    assert set(told) >= {"n_problems", "samples", "max_new_tokens", "n_boot", "thresholds", "alphas", "seed"}
    for name, said in told.items():
        default = StudyConfig.model_fields[name].default
        shown, _, organism = said.partition("; ")
        assert shown == (", ".join(map(str, default)) if isinstance(default, tuple) else str(default)), name
        if organism:
            assert organism == f"{getattr(small, name)} for an organism", name


def test_a_page_of_several_studies_needs_a_name() -> None:
    assert inspect.signature(write_beside).parameters["out"].default is inspect.Parameter.empty
    assert defaults_of("report")["out"] is None
