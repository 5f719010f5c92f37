"""The stage on the order of domains: known accuracies come out in the matrix, the evidence and on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hooks.rollouts import Rollouts
from probes.claims import judge
from probes.report.blocks import Absent, Figure, Fold, Table, Text
from probes.report.domain_order import ordered
from probes.report.folder import StudyReader
from probes.report.how_it_got_there import how_it_got_there
from probes.study import ordering as stage
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials
from probes.study.noted import noted

SAMPLES = 8
EACH = 40
TRUTH = {
    "base": (0.3, 0.4), "a": (0.7, 0.2), "b": (0.5, 0.8), "a,b": (0.3, 0.8), "b,a": (0.75, 0.7), "a+b": (0.5, 0.5),
}  # fmt: skip
"""Accuracy on a and on b after each run: a forgets b, b helps a, so b goes first."""


def graded(run: str, *, luck: int = 0) -> Rollouts:
    rows = []
    for at, domain in enumerate("ab"):
        right = np.random.default_rng([luck, *run.encode(), at]).random((EACH, SAMPLES)) < TRUTH[run][at]
        for problem in range(EACH):
            rows += [
                {
                    "problem": f"{domain}{problem}", "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1],
                    "ids": [1], "text": "x", "logp": [0.0], "stop": "eos", "author": ["base"],
                    "correct": bool(right[problem, sample]), "answer": "x",
                }
                for sample in range(SAMPLES)
            ]  # fmt: skip
    return Rollouts.of(rows)


def study(folder: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, str], **more: Any) -> Materials:
    problems = folder / "problems.jsonl"
    lines = [
        {"id": f"{domain}{i}", "question": f"{domain} {i}?", "answer": "1", "domain": domain}
        for domain in "ab"
        for i in range(EACH)
    ]
    problems.write_text("\n".join(map(json.dumps, lines)) + "\n")
    settings = StudyConfig(
        base="start", rl="tuned", problems=str(problems), out=folder / "study", n_problems=2 * EACH, samples=32,
        n_boot=300, order=runs, **more,
    )  # fmt: skip
    monkeypatch.setattr(stage, "sampled", lambda _, name, path: graded(path))
    made = Materials(settings, StudyFolder(settings.out), lambda title: lambda done, total: None)
    graded("base").save(made.path("base_samples"))
    return made


def test_the_better_order_is_recommended_and_beats_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {name: name for name in TRUTH if name != "base"}
    made = study(tmp_path, monkeypatch, runs)
    stage.ordering(made)
    record = made.folder.read_json("training_domains")
    assert record["greedy"] == ["b", "a"]
    found = noted(made.folder)
    assert found.order_over_joint is not None
    assert found.order_over_others is not None
    assert found.order_over_joint.low > 0.1
    assert found.order_over_others.value == pytest.approx(0.725 - 0.55, abs=0.06)
    # Two orders are no correlation: it was not measured, which is not the same as not telling.
    assert found.order_foreseen is None
    claim = next(claim for claim in judge(found) if claim.key == "domain_order")
    assert claim.verdict == "supported"
    transfer = made.folder.read("training_domains").set_index(["trained", "tested"])["transfer"]
    assert transfer[("a", "b")] == pytest.approx(-0.2, abs=0.1)
    assert transfer[("b", "a")] == pytest.approx(0.2, abs=0.1)
    accuracy = made.folder.read("training_domain_accuracy").set_index(["run", "domain"])
    for name, truth in TRUTH.items():
        for domain, value in zip("ab", truth, strict=True):
            row = accuracy.loc[(name, domain)]
            assert row["accuracy_low"] - 0.05 < value < row["accuracy_high"] + 0.05


def test_the_page_shows_matrix_orders_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(tmp_path, monkeypatch, {name: name for name in TRUTH if name != "base"})
    stage.ordering(made)
    reader = StudyReader(made.folder.root)
    blocks = ordered(reader)
    assert {Text, Figure, Table, Fold} <= {type(block) for block in blocks}
    runs = next(block for block in blocks if isinstance(block, Table))
    assert [row[0].text for row in runs.rows if row[0].badges] == ["b → a"]
    # Without checkpoints along the run the section still shows it.
    assert any(isinstance(block, Figure) for block in how_it_got_there(reader).blocks)


def test_single_runs_alone_give_a_matrix_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(tmp_path, monkeypatch, {"a": "a", "b": "b"})
    stage.ordering(made)
    found = noted(made.folder)
    assert found.order_over_joint is found.order_over_others is found.order_foreseen is None
    assert len(made.folder.read("training_domains")) == 4
    assert not (made.folder.root / "results" / "training_domain_runs.parquet").exists()
    assert any(isinstance(block, Figure) for block in ordered(StudyReader(made.folder.root)))


def test_equal_runs_beat_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(tmp_path, monkeypatch, {name: name for name in TRUTH if name != "base"})
    monkeypatch.setattr(stage, "sampled", lambda _, name, path: graded("base", luck=1 + len(name)))
    stage.ordering(made)
    found = noted(made.folder)
    assert found.order_over_others is not None
    assert found.order_over_others.low <= 0 <= found.order_over_others.high


def test_without_runs_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(tmp_path, monkeypatch, {})
    stage.ordering(made)
    assert not (made.folder.root / "results").exists()
    blocks = ordered(StudyReader(made.folder.root))
    assert isinstance(blocks[-1], Absent)
    assert "--order a,b=CHECKPOINT" in blocks[-1].needs
