"""``whenlens claims`` reads the evidence of a study and says what is missing."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from probes.cli import app
from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.folder import StudyFolder
from probes.study.noted import note

run = CliRunner()


def _folder(root: Path) -> Path:
    folder = StudyFolder(root)
    folder.json("../study", {"key": "k", "config": {}})
    gap = Estimate(0.1, 0.05, 0.15, 200, "bootstrap")
    behind = Estimate(-0.03, -0.06, 0.01, 200, "bootstrap")
    note(folder, "samples", Evidence(passk_first=gap, passk_last=behind, largest_k=64))
    return root


def test_the_claims_of_a_study_as_one_json_value(tmp_path: Path) -> None:
    done = run.invoke(app, ["claims", str(_folder(tmp_path)), "--json"])
    told = json.loads(done.stdout)
    assert len(told) == 12
    assert all({"claim", "verdict", "figure", "interval", "published", "needs"} <= set(claim) for claim in told)
    known = {claim["key"]: claim for claim in told}
    assert known["pass_at_k"]["verdict"] == "supported"
    assert known["pass_at_k"]["interval"] == [-0.06, 0.01]
    assert known["scaling"]["verdict"] == "not measured"
    assert known["scaling"]["figure"] is None
    assert "needs" in known["scaling"]["needs"]


def test_the_claims_as_a_table(tmp_path: Path) -> None:
    done = run.invoke(app, ["claims", str(_folder(tmp_path))], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "not measured" in done.output


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    done = run.invoke(app, ["claims", str(tmp_path)])
    assert done.exit_code == 2
    assert "neither the folder of a study nor an organism" in " ".join(done.output.split())
