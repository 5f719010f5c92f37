"""The check-up passes on every family that is supported, and fails where something is broken."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from hooks.checkup import examine
from hooks.model import Model
from tests.families import FAMILIES, tiny


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", "olmo2"])
def test_every_family_passes(family: str, tmp_path) -> None:
    tiny(family, path=tmp_path)
    checks = list(examine(Model.load(tmp_path)))
    assert len(checks) == 7
    assert [check.name for check in checks if not check.passed] == []
    assert all(check.error is None or check.error < 1e-5 for check in checks)


def test_a_broken_layer_is_seen(tmp_path) -> None:
    tiny("llama", path=tmp_path)
    model = Model.load(tmp_path)
    _ = model.bridge
    # The bare tree no longer does what the bridge does: its second block adds something of its own.
    model.blocks[1].register_forward_hook(lambda block, args, out: out + torch.ones_like(out))
    failed = {check.name for check in examine(model) if not check.passed}
    assert "sites equal on both module trees" in failed


def test_the_command_says_what_fails(tmp_path) -> None:
    from probes.cli import app

    run = CliRunner()
    done = run.invoke(app, ["doctor", "organism:latent:base", "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["passed"]
    assert any(check["what"] == "sites equal on both module trees" for check in told["checks"])
    missing = run.invoke(app, ["doctor", str(tmp_path / "nothing")])
    assert missing.exit_code == 1
    assert "there is no folder" in " ".join(missing.output.split())
