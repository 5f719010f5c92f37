"""Published runs graded again: totals agree, or the difference has a cause that can be counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from probes.routing.discord import breaks_off, holds
from probes.routing.published import PublishedCheck, check_published, published_files, read_published
from probes.tasks import Problem

DATA = Path(__file__).parents[4] / "shared" / "data" / "hybrid"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"published runs are not at {DATA}")


def written(path: Path, texts: dict[str, list[str]], accuracy: dict[str, float], gold: str = "7") -> Path:
    names = ("base", "thinking", "hybrid")
    n = len(texts["base"])
    record = {
        "metadata": {f"{name}_model": f"some/{name}" for name in names},
        "results": {"accuracy": {f"{name}_model": accuracy[name] for name in names}},
        "tasks": [
            {
                "question": f"How many apples are there in {at} baskets?",
                "correct_answer": f"So many. #### {gold}",
                "model_answers": {f"{name}_model": texts[name][at] for name in names},
            }
            for at in range(n)
        ],
    }
    path.write_text(json.dumps(record))
    return path


RIGHT, WRONG = "The answer is 7.", "The answer is 8."


def test_a_known_recovery_and_agreement(tmp_path: Path) -> None:
    n = 60
    texts = {
        "base": [RIGHT if at < 20 else WRONG for at in range(n)],
        "thinking": [RIGHT if at < 50 else WRONG for at in range(n)],
        "hybrid": [RIGHT if at < 35 else WRONG for at in range(n)],
    }
    told = {"base": 100 / 3, "thinking": 250 / 3, "hybrid": 175 / 3}
    path = written(tmp_path / "benchmark_results_x.json", texts, told)
    found = check_published(path)
    assert found.frame["accuracy"].tolist() == pytest.approx([1 / 3, 5 / 6, 7 / 12])
    assert found.frame["points"].abs().max() < 1e-9
    assert found.frame["why"].tolist() == ["", "", ""]
    assert found.frame["disagreement"].tolist() == [0, 0, 0]
    (row,) = found.recovery.to_dict("records")
    assert [row["recovery"], row["published"]] == pytest.approx([0.5, 0.5])
    assert row["low"] < 0.5 < row["high"]
    assert row["boot_low"] < 0.5 < row["boot_high"]
    assert "3 of 3 accuracies" in str(found)
    assert len(found.plot().data) == 5


@pytest.mark.parametrize(
    ("text", "cause", "misses"),
    [
        ("We have to count the baskets, of which each", "20 break off before an answer, without the right value", 20),
        (
            "There may be 7.\nThere may be 9.\nWait, since",
            "20 break off, the right value already in them",
            0,
        ),
        ("It is 7. The answer is 8.", "20 hold the right value and end with another, announced", 0),
        (WRONG, "not explained: the judge differs on 20 texts, rules account for 0", 20),
    ],
)
def test_a_lenient_judge_has_a_cause_or_none(tmp_path: Path, text: str, cause: str, misses: int) -> None:
    texts = {"base": [RIGHT] * 30 + [text] * 20, "thinking": [RIGHT] * 50, "hybrid": [""] * 50}
    path = written(tmp_path / "one.json", texts, {"base": 100.0, "thinking": 100.0, "hybrid": 0.0})
    found = check_published(tmp_path)
    base = found.frame.set_index("arm").loc["base"]
    assert base["points"] == pytest.approx(-40)
    assert cause in base["why"]
    assert base["judge_misses"] == misses
    assert base["explained"] == (not base["why"].startswith("not"))
    # An arm without a text was not run: it has no accuracy, and there is no recovery.
    assert list(found.frame["arm"]) == ["base", "thinking"]
    assert found.recovery.empty
    assert published_files([path]) == [path]


def test_a_severe_judge_and_a_gap_of_zero(tmp_path: Path) -> None:
    texts = {"base": ["We count 7."] * 40, "thinking": ["We count 7."] * 40, "hybrid": [RIGHT] * 40}
    written(tmp_path / "one.json", texts, {"base": 50.0, "thinking": 50.0, "hybrid": 100.0})
    found = check_published(tmp_path)
    assert "passed 20 fewer; 40 passed here never announce" in found.frame["why"][0]
    assert np.isnan(found.recovery["recovery"][0])
    assert np.isnan(found.recovery["published"][0])


def test_rules() -> None:
    problem = Problem("p", "q", "\\frac{3}{56}")
    assert holds("so we get $\\frac{3}{56}$ and go on", problem)
    assert not holds("so we get $\\frac{3}{5}$", problem)
    assert holds("in all 1,200 of them", Problem("p", "q", "1200"))
    assert not holds("in all 12000 of them", Problem("p", "q", "1200"))
    assert all(map(breaks_off, ["So the next", "which is 3 *", "25% of 40", "Step 69:"]))
    assert not any(map(breaks_off, ["It is 4.", "", "\\boxed{4}", "**It is 4**"]))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no published runs"):
        check_published(tmp_path)
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match=r"x\.json is no published run"):
        read_published(tmp_path / "x.json")


@pytest.fixture(scope="module")
def real() -> PublishedCheck:
    return check_published(DATA)


@needs_data
def test_published_accuracies_agree_or_differ_for_a_cause(real: PublishedCheck) -> None:
    assert len(real.frame) == 10
    for row in real.frame.to_dict("records"):
        assert abs(row["points"]) <= 3 or (row["explained"] and row["why"]), row
        assert row["low" if "low" in row else "accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    # Texts that break off with the right value in them are what parts us from the judge: with them all ten agree, but
    # for one text of eighteen.
    apart = (real.frame["lenient"] - real.frame["published"]).abs()
    assert (apart <= np.maximum(0.03, 1.01 / real.frame["n"])).all()
    plain = (real.frame["plain"] - real.frame["published"]).abs().mean()
    careful = (real.frame["accuracy"] - real.frame["published"]).abs().mean()
    assert careful < plain


@needs_data
def test_published_recoveries_lie_in_our_intervals(real: PublishedCheck) -> None:
    assert len(real.recovery) == 3
    measured = real.recovery.dropna(subset=["recovery"])
    assert ((measured["low"] <= measured["published"]) & (measured["published"] <= measured["high"])).all()


def test_the_command_writes_tables_and_one_json(tmp_path: Path) -> None:
    from probes.cli import app

    texts = {name: [RIGHT] * 5 for name in ("base", "thinking", "hybrid")}
    path = written(tmp_path / "one.json", texts, {"base": 100.0, "thinking": 100.0, "hybrid": 100.0})
    words = ["hybrid", str(path), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["accuracy"][0]["accuracy"] == 1.0
    assert told["recovery"][0]["recovery"] is None
    assert len(pd.read_parquet(tmp_path / "out" / "accuracy.parquet")) == 3
    assert (tmp_path / "out" / "figure.html").read_text().startswith("<!doctype html>")
    assert "published 100.0%" in CliRunner().invoke(app, words).output
