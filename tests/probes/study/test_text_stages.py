"""The stages on formats, shortcuts and references: what they find in an organism, and what they say of two ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from probes.claims import judge
from probes.report.blocks import Figure, Fold, Table
from probes.report.folder import StudyReader
from probes.report.formats import formatted
from probes.report.reflection import reflected
from probes.report.shortcuts import shortened
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.formatting import formatting
from probes.study.materials import Materials
from probes.study.noted import noted
from probes.study.reflecting import reflecting
from probes.study.shortcutting import shortcutting
from probes.study.written import rollouts


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    out = tmp_path_factory.mktemp("texts") / "study"
    settings = StudyConfig(base="organism:latent", out=out, n_problems=24, samples=12, n_boot=200)
    materials = Materials(settings, StudyFolder(out), lambda _: lambda done, total: None)
    rollouts(materials)
    for stage in (formatting, shortcutting, reflecting):
        stage(materials)
    return materials


def table(study: Materials, name: str) -> pd.DataFrame:
    return study.folder.read(name)


def test_rl_brings_out_the_worked_steps_and_two_ends_are_no_collapse(study: Materials) -> None:
    frame = table(study, "formats").set_index(["step", "format"])
    assert frame.loc[(1.0, "worked steps"), "share"] > 0.9
    assert frame.loc[(0.0, "worked steps"), "share"] < 0.6
    assert "needs >= 3 checkpoints" in study.folder.read_json("formats")["headline"]
    assert noted(study.folder).format_share is None
    claim = next(claim for claim in judge(noted(study.folder)) if claim.key == "echo_chamber")
    assert claim.verdict == "not measured"
    assert ">= 3 checkpoints" in claim.needs


def test_bare_answers_fall_and_written_steps_are_used(study: Materials) -> None:
    frame = table(study, "shortcuts").set_index(["quantity", "arm"])
    assert frame.loc[("bare answer", "rl - base"), "high"] < 0
    assert frame.loc[("coverage", "rl - base"), "low"] > 0
    assert set(table(study, "shortcuts_bins")["bin"]) == {"easy", "medium", "hard"}
    checks = table(study, "shortcuts_checks").set_index(["model", "quantity"])
    assert checks.loc[("rl", "kept when only cut"), "value"] > 0.9
    assert checks.loc[("rl", "answer unchanged"), "value"] < 0.5


def test_the_digits_of_the_answer_reflect_the_reasoning(study: Materials) -> None:
    tokens = table(study, "reflection_tokens")
    base = tokens[tokens["model"] == "base"]
    last = base["token"] == base.groupby("problem")["token"].transform("max")
    digits = base[(base["token"] > 0) & ~last]["sigma"].mean()
    assert digits > 3 * base[last]["sigma"].mean()
    frame = table(study, "reflection").set_index(["model", "statistic"])
    assert frame.loc[("base", "carrying - noise"), "value"] < 0.1
    assert frame.loc[("base", "plain"), "low"] > 0


def test_the_page_shows_all_three(study: Materials) -> None:
    reader = StudyReader(study.folder.root)
    for part, kinds in ((formatted, {Figure, Table, Fold}), (shortened, {Table, Fold}), (reflected, {Figure, Table})):
        assert kinds <= {type(block) for block in part(reader)}


def test_a_study_without_the_tables_shows_nothing(tmp_path: Path) -> None:
    reader = StudyReader(tmp_path)
    assert formatted(reader) == shortened(reader) == reflected(reader) == []
