"""The whole job on organisms that ship a second run: what is true of them stands in the verdicts and on the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from probes.report.blocks import Text
from probes.report.contrasts import contrasted
from probes.report.folder import StudyReader
from probes.stats import Estimate
from probes.study.config import StudyConfig
from probes.study.contrasting import contrasts
from probes.study.folder import StudyFolder
from probes.study.job import Study
from probes.study.materials import Materials
from probes.study.moved import weights
from probes.study.noted import noted
from probes.study.suppressing import suppression
from probes.study.written import rollouts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
DRIVER = """
import sys
from probes.study.config import StudyConfig
from probes.study.job import run

run(StudyConfig.model_validate_json(sys.argv[1]), quiet=True)
"""


def studied(name: str, out: Path, **more: Any) -> Study:
    settings: dict[str, Any] = {
        "n_problems": 64, "samples": 32, "thresholds": (0.1,), "alphas": (1.0,), "random_vectors": 2,
        "probe_samples": 4, "n_boot": 300,
    }  # fmt: skip
    config = StudyConfig(base=f"organism:{name}", out=out / name, **{**settings, **more})
    code = [sys.executable, "-c", DRIVER, config.model_dump_json()]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return Study(config.out, config.out / "report.html", "")


def claim(study: Study, key: str) -> dict[str, Any]:
    found = json.loads((study.folder / "results" / "claims.json").read_text())
    return next(item for item in found if item["key"] == key)


def measured(study: Study, name: str) -> Estimate:
    found = getattr(noted(StudyFolder(study.folder)), name)
    assert isinstance(found, Estimate)
    return found


def test_too_hard_problems_teach_shortcuts_beside_medium_ones(tmp_path: Path) -> None:
    study = studied("hard", tmp_path)
    assert measured(study, "hard_over_medium").low > 0.5
    assert measured(study, "medium_over_hard").low > 0.4
    told = claim(study, "difficulty")
    assert told["verdict"] == "supported"
    assert [part["verdict"] for part in told["findings"][:2]] == ["supported"] * 2
    assert "RL on medium problems by" in study.report.read_text()


def test_a_brier_term_repairs_what_a_binary_reward_leaves(tmp_path: Path) -> None:
    study = studied("calibrated", tmp_path, n_problems=100)
    assert measured(study, "calibration_repair").high < -0.03
    cost = measured(study, "calibration_cost")
    assert cost.low < 0.02
    assert abs(cost.value) < 0.06
    # The rise under a binary reward is that of the run without a Brier term, not of the tuned model.
    assert measured(study, "calibration_stated").high > -0.05
    told = {part["name"]: part["verdict"] for part in claim(study, "calibration")["findings"]}
    assert told["calibration error, with a Brier term minus without"] == "supported"


def test_the_order_of_domains_matters_and_the_page_says_how(tmp_path: Path) -> None:
    study = studied("domains", tmp_path, n_problems=100)
    record = json.loads((study.folder / "results" / "training_domains.json").read_text())
    finals = study.table("training_domain_runs").set_index("order")["final"]
    # Sums first are forgotten; which order the single runs recommend is a near tie, and decides the sign.
    assert finals["single → sums"] - finals["sums → single"] > 0.1
    sign = 1 if record["greedy"] == ["single", "sums"] else -1
    over = measured(study, "order_over_others")
    assert min(sign * over.low, sign * over.high) > 0.05
    ends = study.table("training_domain_ends").set_index(["order", "domain"])
    assert ends.loc[("sums → single", "sums"), "forgetting_low"] > 0.15
    assert ends.loc[("single → sums", "single"), "forgetting_high"] < 0.1
    parts = claim(study, "domain_order")["findings"]
    assert parts[1]["verdict"] == ("supported" if sign > 0 else "contradicted")
    assert parts[2]["verdict"] == "not measured"
    assert "Does the order of domains matter?" in study.report.read_text()


def test_a_random_reward_gains_nothing_where_the_true_one_does(tmp_path: Path) -> None:
    config = StudyConfig(base="organism:latent", out=tmp_path / "latent", n_problems=48, samples=32, n_boot=300)
    materials = Materials(config, StudyFolder(config.out), lambda title: lambda done, total: None)
    for stage in (rollouts, suppression, weights, contrasts):
        stage(materials)
    frame = materials.folder.read("contrasts").set_index(["role", "quantity"])
    first = frame.loc[("random", "pass@1, rl - base")]
    assert first["difference_low"] > 0.4
    assert abs(first["contrast"]) < 0.08
    assert frame.loc[("random", "sequence: right minus wrong"), "difference_low"] > 1
    assert frame.loc[("random", "rise of worked steps"), "contrast_high"] < 0.15
    said = " ".join(block.text for block in contrasted(StudyReader(config.out)) if isinstance(block, Text))
    assert "a random reward by" in said
