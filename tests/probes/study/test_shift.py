"""Where the two models part: shares of the stage against plain counts, and silence where they never do."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hooks.score import TokenTable
from hooks.tokenwise import MEASURES
from probes.study import says
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials


def table(author: str, *, apart: bool) -> TokenTable:
    rng = np.random.default_rng(0)
    rows = []
    for problem in range(6):
        for index in range(30):
            measured = dict.fromkeys(MEASURES, 0.1) | {
                "rank_base": int(rng.integers(1, 6)), "rank_rl": 1, "logp_base": float(np.log(rng.uniform(0.001, 1))),
                "logp_rl": -0.1, "js": float(rng.uniform(0, 0.3 if apart else 0.1)), "entropy_base": rng.random(),
                "entropy_rl": rng.random(), "top_base": int(rng.integers(0, 2)), "top_rl": 1,
            }  # fmt: skip
            place = {"problem": f"p{problem}", "sample": 0, "model": author, "pos": index + 2, "index": index, "id": 5}
            rows.append(place | measured)
    return TokenTable(pd.DataFrame(rows), {})


def staged(root: Path, monkeypatch: pytest.MonkeyPatch, *, apart: bool) -> pd.Series:
    monkeypatch.setattr(says, "tokens_of", lambda materials, role: table(role, apart=apart))
    config = StudyConfig(base="organism:latent", out=root, n_boot=100)
    made = Materials(config, StudyFolder(root), lambda title: lambda done, total: None)
    says.shift(made)
    return made.folder.read("shift").set_index("what")["value"]


def test_shares_where_the_models_part_are_plain_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = staged(tmp_path, monkeypatch, apart=True)
    frame = table("rl", apart=True).frame
    for what, holds in (
        ("both have the same first choice", lambda row: row.top_base == row.top_rl),
        ("among the first 3 of the base", lambda row: row.rank_base <= 3),
        ("below 0.01 in the base", lambda row: row.logp_base < math.log(0.01)),
    ):
        means = []
        for _, own in frame.groupby("problem"):
            apart = [row for row in own.itertuples() if row.js > 0.1]
            means.append(np.mean([holds(row) for row in apart]))
        assert found[f"of JS above 0.1: {what}"] == pytest.approx(np.mean(means))


def test_models_that_never_part_have_no_such_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = staged(tmp_path, monkeypatch, apart=False)
    assert found["JS at most 0.1 nats"] == 1.0
    assert found.filter(like="of JS above 0.1").isna().all()
