"""What the page says of the shares that routing takes."""

import json
from pathlib import Path

import pandas as pd

from probes.report.blocks import Text
from probes.report.folder import StudyReader
from probes.report.only_when import only_when
from tests.probes.report.fake import build
from tests.probes.report.rich import enrich


def test_a_share_below_every_gate_says_what_it_rests_on(tmp_path: Path) -> None:
    build(tmp_path)
    enrich(tmp_path)
    routing = pd.read_parquet(tmp_path / "results/routing.parquet").query("routed > 0").assign(kind="gate")
    routing.to_parquet(tmp_path / "results/routing.parquet")
    least = routing["routed"].min()
    found = {"value": float(least) / 2, "low": 0.0, "high": float(least)}
    shares = {"share_for_50": found, "share_for_90": {**found, "value": float(least) * 1.5}}
    record = json.loads((tmp_path / "results/routing.json").read_text())
    (tmp_path / "results/routing.json").write_text(json.dumps(record | shares))
    said = [block.text for block in only_when(StudyReader(tmp_path)).blocks if isinstance(block, Text)]
    half, most = (next(text for text in said if f"needed for {name}" in text) for name in ("half", "nine tenths"))
    assert f"no gate that was run handed over less than {least:.1%}" in half
    assert "no gate that was run" not in most
