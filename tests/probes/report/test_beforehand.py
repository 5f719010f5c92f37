"""What the page says of "there before RL": by the rule, from figures alone, whatever the pair is called."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from probes.report.already_there import already_there
from probes.report.before_drawings import ahead_curve, cosines_by_layer, moved_probes
from probes.report.blocks import Figure, Heading, Text
from probes.report.folder import StudyReader
from probes.report.page import render
from probes.report.reading_rule import RULE, verdict

SITES = ("resid_post.0", "resid_post.1")


Lines = list[dict[str, Any]]


def label(name: str, text: str, *, auroc: float, lead: float, twin: float = 0.2, q: float = 0.6) -> Lines:
    """Lines of ``before_models`` for one label; intervals reach 0.05 to either side."""
    lines = []
    for site in SITES:
        line: dict[str, Any] = {"site": site, "label": name, "text": text, "rows": 400, "reported": site == SITES[1]}
        values = {
            "base_auroc": auroc,
            "rl_auroc": auroc,
            "rl_minus_base": 0.0,
            "over_baseline": lead,
            "over_twin": twin,
        }
        for column, value in values.items():
            line |= {column: value, f"{column}_low": value - 0.05, f"{column}_high": value + 0.05}
        lines.append(
            line | {"rl_minus_base_p": q, "rl_minus_base_q": q, "baseline": auroc - lead, "twin": auroc - twin}
        )
    return lines


def study(root: Path, models: Lines, shares: dict[str, tuple[float, float]], p: float | None) -> StudyReader:
    (root / "results").mkdir(parents=True)
    frame = pd.DataFrame(models)
    frame.to_parquet(root / "results/before_models.parquet")
    rows = [
        (role, name, share) for name, both in shares.items() for role, share in zip(("base", "rl"), both, strict=True)
    ]
    pd.DataFrame(rows, columns=["model", "strategy", "share"]).to_parquet(root / "results/strategies.parquet")
    if p is not None:
        (root / "results/steering.json").write_text(json.dumps({"p": p}))
    for name, table in tables(frame).items():
        table.to_parquet(root / f"results/before_{name}.parquet")
    return StudyReader(root)


def tables(models: pd.DataFrame) -> dict[str, pd.DataFrame]:
    keys = models[["site", "label", "text", "reported"]]
    ways = [("base", "base", "own"), ("base", "rl", "raw"), ("base", "rl", "turned"), ("rl", "base", "raw")]
    moved = pd.concat([keys.assign(trained=a, read=b, space=c, auroc=0.7, low=0.65, high=0.75) for a, b, c in ways])
    moved = moved.assign(minus_home=-0.1, minus_home_low=-0.15, minus_home_high=-0.05)
    cosines = keys.assign(apart=0.6, apart_low=0.5, apart_high=0.7, cosine=0.9, random=0.2, shuffled=0.3)
    ahead = pd.concat([keys[keys["reported"]].assign(k=k, auroc=0.8 - k / 50, low=0.6, high=0.9) for k in range(5)])
    return {"transfer": moved, "cosines": cosines, "ahead": ahead.assign(baseline=0.55, within="text", rows=90)}


THERE = label("planning (start)", "base text", auroc=0.7, lead=0.12)
FOREIGN = label("computation (inner)", "RL text", auroc=0.95, lead=0.2)


def test_told_beyond_the_controls_and_usable_was_there(tmp_path: Path) -> None:
    said = verdict(study(tmp_path / "a", THERE, {"planning": (0.25, 1.0), "restating": (0.1, 0.0)}, 0.01))
    assert said is not None
    assert "“planning” was there before RL." in said
    assert "AUROC 0.70, +0.12 [+0.07, +0.17] against the last tokens" in said
    assert "restating" not in said


def test_read_in_foreign_text_and_not_usable_is_no_strategy_that_was_there(tmp_path: Path) -> None:
    said = verdict(study(tmp_path / "a", FOREIGN, {"computation": (0.0006, 1.0), "planning": (0.0, 1.0)}, 0.4))
    assert said is not None
    assert "Readable is not there beforehand" in said
    assert "that text already holds the strategy" in said
    assert "in under 0.1 % of the base's texts" in said
    assert "“planning” (in 0 % of the base's texts, 100 % of the tuned model's) is hardly ever begun" in said
    assert "was there before RL" not in said


def test_the_sentence_follows_the_figures_not_the_name(tmp_path: Path) -> None:
    shares = {"planning": (0.25, 1.0)}
    not_usable = verdict(study(tmp_path / "a", THERE, shares, 0.4)) or ""
    not_measured = verdict(study(tmp_path / "b", THERE, shares, None)) or ""
    beaten = label("planning (start)", "base text", auroc=0.7, lead=0.02)
    tokens = verdict(study(tmp_path / "c", beaten, shares, 0.01)) or ""
    twin = (
        verdict(
            study(tmp_path / "d", label("planning (start)", "base text", auroc=0.7, lead=0.1, twin=0.0), shares, 0.01)
        )
        or ""
    )
    assert "Readable is not there beforehand" in not_usable
    assert "was not measured" in not_measured
    assert "is not told beyond" in tokens
    assert "about as well from an untrained model" in twin
    assert "what the base begins by itself can be called up" in not_usable
    for said in (tokens, twin):
        # What the base does in its texts and what its activations tell are two findings.
        assert "The base itself uses “planning” in 25 % of its texts (the tuned model in 100 %)" in said
        assert "do not announce it beyond the controls" in said
        assert "Nothing that RL brought forward" not in said


def test_no_strategy_brought_forward_and_no_difference(tmp_path: Path) -> None:
    said = verdict(study(tmp_path / "a", THERE, {"planning": (0.25, 0.26)}, 0.01))
    assert said is not None
    assert said.startswith("RL made no strategy more common by 5 points of texts.")
    assert "no difference was detected in 2 of 2 comparisons, and 0 differ (q < 0.05)" in said
    assert "as much as the other's" not in said
    told = [*THERE, *label("concluding (start)", "base text", auroc=0.7, lead=0.1, q=0.001)]
    other = verdict(study(tmp_path / "b", told, {"planning": (0.25, 0.26)}, 0.01))
    assert other is not None
    assert "2 differ" in other


def test_the_section_shows_sentence_rule_and_three_figures(tmp_path: Path) -> None:
    reader = study(tmp_path / "a", [*THERE, *FOREIGN], {"planning": (0.25, 1.0)}, 0.01)
    blocks = already_there(reader).blocks
    figures = {block.name: block for block in blocks if isinstance(block, Figure)}
    assert {"before-transfer", "before-cosines", "before-ahead"} <= set(figures)
    assert all("does not show" in figures[name].caption for name in figures if name.startswith("before"))
    assert any(isinstance(block, Text) and block.text == RULE for block in blocks)
    page = render(tmp_path / "a")
    assert "“planning” was there before RL." in page
    assert "Principal angles" not in page


def test_without_readings_the_section_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    blocks = already_there(StudyReader(tmp_path)).blocks
    assert "Was it there before RL?" not in [block.text for block in blocks if isinstance(block, Heading)]
    assert verdict(StudyReader(tmp_path)) is None


@pytest.mark.parametrize("draw", [moved_probes, cosines_by_layer, ahead_curve])
def test_a_table_that_cannot_carry_a_figure_draws_none(draw: Any) -> None:
    assert draw(pd.DataFrame({"label": ["a"]})) is None


def test_figures_hold_values_and_intervals(tmp_path: Path) -> None:
    found = tables(pd.DataFrame([*THERE, *FOREIGN]))
    moved = moved_probes(found["transfer"])
    assert moved is not None
    assert [len(trace["x"]) for trace in moved["data"]] == [2, 2, 2, 2]
    assert moved["data"][0]["error_x"]["array"] == pytest.approx([0.05, 0.05])
    cosines = cosines_by_layer(found["cosines"])
    assert cosines is not None
    assert [trace["name"] for trace in cosines["data"]][-2:] == [
        "shuffled labels stay below",
        "random directions stay below",
    ]
    assert cosines["data"][0]["text"] == [0, 1]
    ahead = ahead_curve(found["ahead"])
    assert ahead is not None
    assert ahead["data"][0]["x"] == list(range(5))
    assert ahead["data"][1]["y"] == [0.55] * 5
