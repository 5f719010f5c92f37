"""The stage along the run: series read from settings and organisms, killed anywhere, and shown on the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hooks.organisms import ORGANISMS
from probes.report.blocks import Absent, Figure, Heading, Text
from probes.report.folder import StudyReader
from probes.report.how_it_got_there import how_it_got_there
from probes.report.page import render
from probes.study.checkpoints import Way, step_of
from probes.study.config import StudyConfig
from probes.study.materials import Materials
from probes.study.noted import noted
from probes.study.trained import training
from probes.study.written import rollouts
from probes.training.speed import arrivals, rising
from tests.families import tiny
from tests.probes.study.stages import check_killed_and_run_again, materials, tables


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("run")
    base = tiny("qwen2", path=folder / "base")
    series = [tiny("qwen2", path=folder / f"step-{10 * i}", perturb=0.03 * i) for i in range(1, 6)]
    rl = tiny("qwen2", path=folder / "rl", perturb=0.2)
    (rl / "trainer_state.json").write_text(json.dumps({"global_step": 80}))
    lines = [{"question": f"what is {i} + {i + 1}?", "answer": str(2 * i + 1)} for i in range(8)]
    problems = folder / "problems.jsonl"
    problems.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return StudyConfig(
        base=str(base), rl=str(rl), problems=str(problems), out=folder / "whole", n_problems=8, samples=3,
        max_new_tokens=12, n_boot=100, series=tuple(map(str, series)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(config: StudyConfig) -> Materials:
    made = materials(config)
    rollouts(made)
    shutil.copytree(config.out, config.out.parent / "sampled")
    training(made)
    return made


def test_every_checkpoint_is_sampled_scored_and_measured(whole: Materials) -> None:
    held = tables(whole.folder.root)
    assert [f"rollouts/series-{i:03d}.parquet" in held for i in range(7)] == [True] * 7
    assert [f"tokens/series-{i:03d}.parquet" in held for i in range(7)] == [True] * 7
    names = ("scaling", "points", "windows", "phases", "arms", "phrases", "variety", "changes", "speed")
    assert all(len(held[f"results/training_{name}.parquet"]) for name in names)
    record = held["results/training.json"]
    assert (record["checkpoints"], record["problems"], record["samples"]) == (7, 8, 3)
    assert held["results/training_points.parquet"]["compute"].is_monotonic_increasing
    assert held["results/training_phases.parquet"]["step"].tolist() == [0, 10, 20, 30, 40, 50, 80]
    # Random weights solve nothing: no asymptote, no phases.
    found = noted(whole.folder)
    assert found.scaling_top is not None
    assert not found.scaling_top.measured
    assert record["scaling"]["identified"] is False


def test_ends_of_the_run_are_the_samples_of_the_study(whole: Materials) -> None:
    first = whole.rollouts("series-000").frame
    own = whole.rollouts("base_samples").frame
    assert first["ids"].tolist() == own["ids"].tolist()


@pytest.mark.parametrize("nth", [2, 9, 21])
def test_killed_and_run_again_gives_identical_tables(nth: int, whole: Materials, tmp_path: Path) -> None:
    before = whole.folder.root.parent / "sampled"
    check_killed_and_run_again(training, nth, whole, before, tmp_path / "killed")


def test_the_page_has_a_heading_for_each_question(whole: Materials) -> None:
    blocks = how_it_got_there(StudyReader(whole.folder.root)).blocks
    assert [block.text for block in blocks if isinstance(block, Heading)] == [
        "Does a short run predict a long one?",
        "How soon is the gain there?",
        "First execution, then planning?",
        "Is variety lost?",
        "Does the order of domains matter?",
    ]
    assert {block.name for block in blocks if isinstance(block, Figure)} == {
        "training-scaling", "training-phases", "training-variety",
    }  # fmt: skip
    assert any(isinstance(block, Absent) and block.what == "Order of domains" for block in blocks)
    said = [block.text for block in blocks if isinstance(block, Text) and block.tone == "finding"]
    assert any("not identified" in text for text in said)
    assert "Does a short run predict a long one?" in render(whole.folder.root)


def test_without_a_series_the_stage_writes_nothing_and_the_page_says_what_it_needs(
    config: StudyConfig, tmp_path: Path
) -> None:
    bare = config.model_copy(update={"out": tmp_path, "series": ()})
    training(materials(bare))
    assert not list(tmp_path.rglob("*"))
    blocks = how_it_got_there(StudyReader(tmp_path)).blocks
    # The order of domains needs other runs, not a series, and asks for them itself.
    assert [type(block) for block in blocks] == [Absent, Heading, Absent]


def test_steps_come_from_records_names_or_the_settings(config: StudyConfig, tmp_path: Path) -> None:
    way = Way.of(config)
    assert way.counted == "steps"
    assert [place.step for place in way.places] == [0, 10, 20, 30, 40, 50, 80]
    assert [place.name for place in way.places][:2] == ["base", "step-10"]
    turned = Way.of(config.model_copy(update={"series": tuple(reversed(config.series))}))
    assert [place.name for place in turned.places] == [place.name for place in way.places]
    spent = Way.of(config.model_copy(update={"compute": (1.0, 2.0, 3.0, 4.0, 5.0, 9.0)}))
    assert (spent.counted, spent.places[-1].step) == ("compute", 9.0)
    unknown = Way.of(config.model_copy(update={"series": ("org/first-1.5B", "org/second-1.5B")}))
    assert (unknown.counted, [place.step for place in unknown.places]) == ("checkpoints", [0, 1, 2, 3])
    assert step_of("org/model-1.5B") is None
    assert step_of("org/model/global_step_400") == 400
    assert step_of("runs/checkpoint-120/") == 120


def test_an_organism_brings_its_own_series_and_others_have_none() -> None:
    way = Way.of(StudyConfig(base="organism:latent", out=Path("out")))
    assert [place.step for place in way.places] == [0, 5, 10, 15, 20, 30, 40, 55, 75, 95, 120]
    assert way.places[-1].path == "organism:latent:rl"
    assert Way.of(StudyConfig(base="organism:sham", out=Path("out"))).places == ()


def test_compute_that_does_not_fit_is_refused_and_the_command_says_the_series(config: StudyConfig) -> None:
    with pytest.raises(ValueError, match="compute must rise"):
        StudyConfig(base="a", rl="b", problems="x.jsonl", out=Path("out"), series=("s",), compute=(2.0, 1.0))
    with pytest.raises(ValueError, match="1 were given"):
        StudyConfig(base="a", rl="b", problems="x.jsonl", out=Path("out"), series=("s",), compute=(2.0,))
    given = StudyConfig(base="a", rl="b", problems="x.jsonl", out=Path("o"), series=("s", "t"), compute=(1, 2, 3))
    assert given.command.endswith("--series s --series t --compute 1.0 --compute 2.0 --compute 3.0")


@pytest.mark.slow
def test_the_latent_organism_settles_execution_and_does_not_spread_its_strategies(tmp_path: Path) -> None:
    made = materials(StudyConfig(base="organism:latent", out=tmp_path, samples=8))
    rollouts(made)
    training(made)
    found = noted(made.folder)
    assert found.scaling_top is not None
    assert found.scaling_top.low > 0.7
    assert found.phase_fall is not None
    assert found.phase_fall.high < 0
    # RL only chooses one way of writing: the second phase of the claim is not there, by construction.
    assert found.phase_rise is not None
    assert found.phase_rise.high < 0
    changes = made.folder.read("training_changes").set_index("measure")["less_variety"]
    assert changes["strategies"]
    # The rewards that the training itself saw, step by step, say when the gain came.
    rewards = np.array([ORGANISMS["latent"].manifest("rl")["reward_curve"]])
    arrived = made.folder.read("training_speed").set_index("share")
    for share in (0.5, 0.9):
        seen = arrivals(np.arange(1.0, rewards.shape[1] + 1), rising(rewards), share)[0]
        assert arrived.loc[share, "steps_low"] - 5 <= seen <= arrived.loc[share, "steps_high"] + 5, share
