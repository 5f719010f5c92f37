"""Grafting: recovery is one where the whole update is put on, zero where none is, and goes with the right part."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hooks.generate import generate
from hooks.implant import implant
from hooks.model import Model
from hooks.pair import Pair
from hooks.part import Part
from hooks.rollouts import Rollouts
from probes import tasks
from probes.routing.grafting import graft, name_of, parts_of
from probes.tasks import Problem
from tests.families import tiny

LENGTH = 8


@functools.cache
def made() -> tuple[Pair, list[Problem], Rollouts, Rollouts]:
    """RL is the base with another MLP in layer 1 and nothing else; right is whatever RL writes."""
    base, rl, other = (Model.load(tiny("llama", seed=seed), device="cpu") for seed in (0, 0, 3))
    for name, tensor in rl.net.named_parameters():
        if name.startswith("model.layers.1.mlp"):
            tensor.data = other.net.get_parameter(name).data
    pair = Pair.of(base, rl)
    prompts = [f"{a}+{b}=" for a in range(10) for b in range(3)]
    theirs = generate(rl, prompts, max_new_tokens=LENGTH).frame
    problems = [
        Problem(prompt, prompt, "".join(text.split()) or "empty", "exact")
        for prompt, text in zip(theirs["prompt"], theirs["text"], strict=True)
    ]
    ours, theirs = (_graded(generate(model, problems, max_new_tokens=LENGTH), problems) for model in (base, rl))
    return pair, problems, ours, theirs


def _graded(texts: Rollouts, problems: list[Problem]) -> Rollouts:
    right = {problem.id: problem.answer for problem in problems}
    marks = [("".join(text.split()) or "empty") == right[name]
             for name, text in zip(texts.frame["problem"], texts.frame["text"], strict=True)]  # fmt: skip
    return texts.with_columns(correct=marks, answer=texts.frame["text"].tolist())


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.routing.grafting.grade", _graded)


def run(parts: Any, **options: Any) -> Any:
    pair, problems, base, rl = made()
    return graft(pair, problems, base=base, rl=rl, parts=parts, max_new_tokens=LENGTH, n_boot=50, **options)


@pytest.mark.usefixtures("exact")
def test_the_changed_layer_alone_brings_everything_and_the_others_nothing() -> None:
    found = run("layers,modules,whole,nothing,rows,without:layer:1")
    frame = found.frame.set_index("part")
    gains = ["layer:1", "module:mlp", "whole", "rows"]
    assert frame["recovery"].to_dict() == {part: float(part in gains) for part in frame.index}
    assert (frame.loc[gains, "share"] > 0).all()
    assert (frame.drop(index=gains)["share"] == 0).all()
    assert frame.loc[gains, "energy"].tolist() == pytest.approx([1.0] * 4)
    assert found.rollouts["whole"].frame["ids"].tolist() == made()[3].frame["ids"].tolist()
    assert found.rollouts["nothing"].frame["ids"].tolist() == made()[2].frame["ids"].tolist()
    assert "the smallest of" in str(found)
    assert set(found.rollouts["whole"].frame["author"].explode()) == {"grafted"}


@pytest.mark.usefixtures("exact")
def test_activations_behind_the_changed_layer_bring_everything_and_before_it_nothing() -> None:
    found = run("resid_post.*@all,resid_post.1@prompt")
    assert found.frame["recovery"].tolist()[:3] == [0.0, 1.0, 1.0]
    assert found.frame["part"].tolist()[0] == "resid_post.0@all"
    assert found.frame["share"].isna().all()
    assert found.frame["recovery"][3] < 1
    assert len(found.plot().data) >= 1


@pytest.mark.usefixtures("exact")
def test_finished_parts_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    first = run("largest:0.05:0.5,rank:2", folder=tmp_path, progress=lambda part, *_: asked.append(part))
    assert asked == ["largest:0.05", "largest:0.5", "rank:2"]
    asked.clear()
    again = run("rank:2,random:0.05,largest:0.5:0.05", folder=tmp_path, progress=lambda part, *_: asked.append(part))
    assert asked == ["random:0.05"]
    one, other = (found.frame.set_index("part") for found in (first, again))
    assert one.loc["rank:2"].equals(other.loc["rank:2"])
    run("rank:2", folder=tmp_path, seed=1, progress=lambda part, *_: asked.append(part))
    assert asked[-1] == "rank:2"


@pytest.mark.usefixtures("exact")
def test_without_a_gain_there_is_no_recovery() -> None:
    pair, problems, base, _ = made()
    found = graft(pair, problems, base=base, rl=base, parts="layer:0", max_new_tokens=LENGTH, n_boot=50)
    assert np.isnan(found.frame["recovery"][0])
    assert str(found).startswith("No recovery")


def test_short_forms() -> None:
    pair = made()[0]
    names = [
        name_of(part) for part in parts_of("layers,cumulative,modules,largest:0.01:0.1,without:random:0.5,rows", pair)
    ]
    assert names == [
        "layer:0", "layer:1", "layer:2", "outside", "upto:0", "upto:1", "upto:2", "module:attention", "module:mlp",
        "module:norm", "module:embedding", "module:head", "largest:0.01", "largest:0.1", "without:random:0.5", "rows",
    ]  # fmt: skip
    built = [Part("rank", 3), implant(pair.rl, "attn_out.1", positions="first:2")]
    assert [name_of(part) for part in parts_of(built, pair)] == ["rank:3", "attn_out.1@first:2"]
    with pytest.raises(ValueError, match="at least one part"):
        parts_of([], pair)
    with pytest.raises(ValueError, match="no part"):
        parts_of("half", pair)


def test_on_an_organism_the_whole_update_is_rl_and_none_of_it_the_base() -> None:
    pair = Pair.load("organism:latent", device="cpu")
    problems = tasks.load("organism:latent", n=60)
    base, rl = (tasks.grade(generate(model, problems), problems) for model in (pair.base, pair.rl))
    before = pair.base.weights_hash
    found = graft(
        pair, problems, base=base, rl=rl, n_boot=50, parts="whole,nothing,largest:0.1,random:0.1,resid_post.3@all"
    )
    frame = found.frame.set_index("part")
    assert frame.loc["whole", "recovery"] == 1
    assert frame.loc["nothing", "recovery"] == 0
    assert found.rollouts["whole"].frame["text"].tolist() == rl.frame["text"].tolist()
    assert found.rollouts["nothing"].frame["text"].tolist() == base.frame["text"].tolist()
    assert frame.loc["random:0.1", "energy"] < frame.loc["largest:0.1", "energy"]
    del pair.base.weights_hash
    assert pair.base.weights_hash == before
    assert torch.is_tensor(next(pair.base.net.parameters()))


def test_the_command_goes_on_part_by_part(tmp_path: Path) -> None:
    from probes.cli import app

    words = ["graft", "organism:latent", "--n-problems", "12", "--out", str(tmp_path), "--json", "--parts"]
    first = CliRunner().invoke(app, [*words, "layer:0"])
    assert first.exit_code == 0, first.output
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "texts").iterdir()}
    assert len(times) == 3
    told = json.loads(CliRunner().invoke(app, [*words, "layer:0,random:0.1"]).stdout)
    assert [row["part"] for row in told["parts"]] == ["layer:0", "random:0.1"]
    assert {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "texts").iterdir() if path.name in times
    } == times
    assert (tmp_path / "graft.parquet").is_file()
    assert (tmp_path / "graft.html").is_file()
