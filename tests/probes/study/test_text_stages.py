"""The stages on formats, shortcuts and references: what they find in an organism, and what they say of two ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hooks.score import score
from probes.claims import judge
from probes.report.blocks import Figure, Fold, Heading, Table, Text
from probes.report.folder import StudyReader
from probes.report.formats import formatted
from probes.report.majority import voted
from probes.report.reflection import reflected
from probes.report.shortcuts import shortened
from probes.report.temperature import matched
from probes.samples import majority, scored_texts, suppression
from probes.study import suppressing
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.formatting import formatting
from probes.study.matching import matching
from probes.study.materials import Materials, first_samples
from probes.study.noted import noted
from probes.study.reflecting import reflecting
from probes.study.shortcutting import shortcutting
from probes.study.suppressing import scored
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


def test_the_bases_votes_catch_up_with_rl_and_the_page_says_so(study: Materials) -> None:
    """The base solves a problem seldom and its errors are scattered: what it prefers is what RL made certain."""
    texts = {role: study.rollouts(f"{role}_samples") for role in ("base", "rl")}
    found = majority(texts["base"], texts["rl"], n_boot=200)
    assert found.largest == 12
    assert found.at(12, "base").value > found.at(1, "base").value + 0.15
    assert found.at(12).value < found.at(1).value - 0.15
    study.folder.table("majority", found.frame)
    told = {name: getattr(found.voting, name) for name in ("value", "low", "high")}
    study.folder.json("majority", {"headline": found.headline(), "voting": told})
    blocks = voted(StudyReader(study.folder.root))
    assert [type(block) for block in blocks] == [Heading, Text, Figure, Fold]
    assert "by 12 votes" in str(blocks[1])


def test_the_tuned_model_has_to_be_heated_to_be_as_uncertain_as_its_base(study: Materials) -> None:
    matching(study)
    told = study.folder.read_json("temperature")
    assert told["temperature"] is None or told["temperature"] > told["base_temperature"]
    tried = table(study, "temperature").set_index("temperature")["entropy"]
    # RL sharpened the choice of strategy: at the base's own temperature the tuned model is surer.
    assert np.interp(0.0, np.log(tried.index), tried) < told["target"]
    assert tried.is_monotonic_increasing
    blocks = matched(StudyReader(study.folder.root))
    assert [type(block) for block in blocks][:3] == [Heading, Text, Figure]
    assert type(blocks[-1]) is Fold


def test_rl_of_the_organism_raises_what_the_base_had_and_writes_nothing_new(study: Materials) -> None:
    tables = {}
    for role in ("base", "rl"):
        texts = study.rollouts(f"{role}_samples")
        tables[role] = scored_texts(texts, score(study.pair, texts))
    found = suppression(tables["base"], tables["rl"], n_boot=200)
    assert found.figure("sequence", "right minus wrong").low > 0
    assert found.figure("new", "new mass").value < 0.1
    # What the base's samples say of the RL model's accuracy, where they can be trusted, is what its own samples say.
    moved, own = found.figure("moved", "to right"), found.figure("moved", "right, RL's own samples")
    before = found.figure("moved", "right, base").value
    assert moved.method.startswith("refused") or before + moved.value == pytest.approx(own.value, abs=0.15)
    same = suppression(tables["base"].assign(logp_rl=tables["base"]["logp_base"]), n_boot=50)
    assert not same.figure("sequence", "suppression share").measured


def test_the_page_shows_all_three(study: Materials) -> None:
    reader = StudyReader(study.folder.root)
    for part, kinds in ((formatted, {Figure, Table, Fold}), (shortened, {Table, Fold}), (reflected, {Figure, Table})):
        assert kinds <= {type(block) for block in part(reader)}


def test_a_study_without_the_tables_shows_nothing(tmp_path: Path) -> None:
    reader = StudyReader(tmp_path)
    assert formatted(reader) == shortened(reader) == reflected(reader) == voted(reader) == []
    assert matched(reader) == []


def test_samples_read_at_another_temperature_are_read_again(study: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = first_samples(study.rollouts("base_samples"), 1)
    first = scored(study, "tried", study.pair, texts, "both models read")
    calls: list[float] = []

    def again(*arguments: Any, temperature: float, **options: Any) -> Any:
        calls.append(temperature)
        return score(*arguments, temperature=temperature, **options)

    monkeypatch.setattr(suppressing, "score", again)
    assert scored(study, "tried", study.pair, texts, "both models read").equals(first)
    assert calls == []
    # A table of an earlier version does not say how it was read.
    for stale in (first.drop(columns="temperature"), first.assign(temperature=0.5, logp_rl=0.0)):
        study.folder.table("tried", stale)
        assert scored(study, "tried", study.pair, texts, "both models read").equals(first)
    assert calls == [study.config.temperature] * 2
