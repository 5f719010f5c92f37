"""All arms of one call on a random pair: matched rates, paired tables, resumption, refusals."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from hooks.generate import generate
from hooks.mix import mix
from hooks.pair import Pair
from probes import routing
from probes.routing import runs
from probes.routing.matched import check_controls
from probes.tasks import Problem

LENGTH = 12


@pytest.fixture(scope="module")
def pair(llama_pair_dirs):
    return Pair.load(*llama_pair_dirs, dtype=torch.float64, device="cpu")


@pytest.fixture(scope="module")
def problems(pair):
    """Problems whose right answer is what the RL model writes, and for every fourth what the base writes."""
    asked = [Problem(f"p{i:02d}", f"{i}+{i}=", "?", kind="exact") for i in range(24)]
    texts = {name: generate(getattr(pair, name), asked, max_new_tokens=LENGTH).frame["text"] for name in ("base", "rl")}
    return [
        replace(problem, answer=texts["base" if place % 4 == 0 else "rl"][place]) for place, problem in enumerate(asked)
    ]


def same_text(rollouts, problems):
    answers = {problem.id: problem.answer for problem in problems}
    right = [text == answers[name] for text, name in zip(rollouts.frame["text"], rollouts.frame["problem"])]
    return rollouts.with_columns(answer=list(rollouts.frame["text"]), correct=right)


@pytest.fixture(autouse=True)
def grader(monkeypatch):
    monkeypatch.setattr(runs, "grade", same_text)


@pytest.fixture(scope="module")
def ends(pair, problems):
    return {
        name: same_text(generate(getattr(pair, name), problems, max_new_tokens=LENGTH), problems)
        for name in ("base", "rl")
    }


def test_gates_and_matched_controls(pair, problems, ends):
    told = []
    result = routing.route(
        pair, problems, **ends, gates=[routing.js(0.05), routing.js(0.2), routing.always()], max_new_tokens=LENGTH,
        matched=[routing.js(0.2)], progress=lambda arm, done, total: told.append(arm), n_boot=200,
        controls=["random", "first_k", "entropy", "backward", "rank"],
    )  # fmt: skip
    frame = result.frame.set_index("arm")
    assert set(frame["kind"]) == {"gate", "random", "first_k", "entropy", "backward", "rank"}
    assert frame.loc["always > 0", "recovery"] == pytest.approx(1.0)
    assert frame.loc["always > 0", "routed"] == 1.0
    gate = frame.loc["js > 0.2"]
    assert 0 < gate["routed"] < frame.loc["js > 0.05", "routed"] < 1
    by_kind = result.frame.set_index("kind")
    assert by_kind.loc["random", "routed"] == pytest.approx(gate["routed"], abs=0.12)
    assert by_kind.loc["first_k", "tokens"] > 0
    # Rounded up: the control may have at most one token a text more.
    extra = by_kind.loc["first_k", "routed"] * by_kind.loc["first_k", "tokens"] - gate["routed"] * gate["tokens"]
    assert -1 <= extra <= 1.001
    assert by_kind.loc["backward", "primary"] == "rl"
    assert (frame["effective"] <= frame["routed"] + 1e-12).all()
    assert set(told) == set(frame.index)
    assert set(result.contrasts["kind"]) == {"random", "first_k", "entropy", "backward", "rank"}
    ours = frame.loc["js > 0.2", "accuracy"] - by_kind.loc["random", "accuracy"]
    assert result.contrasts.set_index("kind").loc["random", "difference"] == pytest.approx(ours)
    line = result.curve()
    assert list(line.points) == ["js > 0.05", "js > 0.2"]
    assert len(line.controls) == 5
    assert len(result.plot().data) >= 6
    assert "best of 3" in str(result)
    with pytest.raises(ValueError, match="No arm has the gate"):
        result.curve("kl")


def test_arms_are_the_mixed_runs_themselves(pair, problems, ends):
    result = routing.route(
        pair,
        problems,
        **ends,
        gates=[routing.never(), routing.js(0.1)],
        controls=False,
        max_new_tokens=LENGTH,
        n_boot=50,
    )
    alone = mix(pair, problems, gate=routing.js(0.1), max_new_tokens=LENGTH)
    assert list(result.rollouts["js > 0.1"].frame["ids"]) == list(alone.frame["ids"])
    assert list(result.rollouts["never > 0"].frame["ids"]) == list(ends["base"].frame["ids"])
    assert result.frame.set_index("arm").loc["never > 0", "recovery"] == 0.0
    assert result.contrasts.empty


def test_a_stopped_call_goes_on(pair, problems, ends, tmp_path, monkeypatch):
    options = {"gates": [routing.js(0.2)], "controls": ["random"], "max_new_tokens": LENGTH, "n_boot": 50}
    whole = routing.route(pair, problems, **ends, **options)
    done, real = [], runs.Setting.run

    def stops(self, arm, progress):
        if done:
            raise KeyboardInterrupt
        done.append(arm.name)
        return real(self, arm, progress)

    monkeypatch.setattr(runs.Setting, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        routing.route(pair, problems, **ends, **options, folder=tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    monkeypatch.setattr(runs.Setting, "run", real)
    again = routing.route(pair, problems, **ends, **options, folder=tmp_path)
    assert again.frame.equals(whole.frame)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    monkeypatch.setattr(sys.modules["hooks.mix"], "mix", None)
    third = routing.route(pair, problems, **ends, **options, folder=tmp_path)
    assert third.frame.equals(whole.frame)


def test_without_a_gain_no_ratio_is_shown(pair, problems, ends):
    result = routing.route(
        pair, problems, base=ends["base"], rl=ends["base"], gates=[routing.js(0.2)], controls=["random"],
        max_new_tokens=LENGTH, n_boot=50,
    )  # fmt: skip
    assert np.isnan(result.frame["recovery"]).all()
    assert "no gain to explain" in str(result)
    assert result.contrasts["recovery"].isna().all()
    assert result.contrasts["difference"].notna().all()
    assert result.plot().layout.yaxis.title.text.startswith("accuracy")


def test_refusals(pair, problems, ends):
    with pytest.raises(ValueError, match="at least one gate"):
        routing.route(pair, problems, **ends, gates=[])
    with pytest.raises(ValueError, match="Two gates"):
        routing.route(pair, problems, **ends, gates=[routing.js(0.1), routing.js(0.1)])
    with pytest.raises(ValueError, match="no control 'luck'"):
        check_controls(["js"], ["luck"], steering=None)
    with pytest.warns(UserWarning, match="resample is left out"):
        routing.route(
            pair, problems, **ends, gates=[routing.never()], controls=["resample"], max_new_tokens=2, n_boot=10
        )
