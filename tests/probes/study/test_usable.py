"""The vectors of a study say whose activations on whose text they are."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from hooks.direction import Direction
from probes.stats import stream
from probes.study import usable
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials
from tests.probes.latent.planted import texts


def test_a_direction_of_a_study_states_its_origin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    n = 80
    frame = pd.DataFrame({"problem": [f"p{at // 4}" for at in range(n)], "sample": np.arange(n) % 4})
    found = frame.assign(place="start", strategy=np.where(np.arange(n) % 2, "planning", "computation"))
    written = texts(frame, prompt=[1, 2], ids=[[3, 4]] * n)
    rows = torch.from_numpy(stream(0, "usable").standard_normal((n, 6))).float()
    acts = Activations({"resid_post.1": rows}, frame, {"role": "base", "model": "b", "weights": "f" * 64})
    monkeypatch.setattr(usable, "decision_rows", lambda materials: (written, found))
    monkeypatch.setattr(usable, "decision_activations", lambda materials: {"base": acts})
    config = StudyConfig(base="organism:latent", out=tmp_path)
    materials = Materials(config, StudyFolder(tmp_path), lambda title: lambda done, total: None)
    materials.__dict__["pair"] = SimpleNamespace(base=SimpleNamespace(n_layers=4))
    monkeypatch.setattr(usable, "DEPTHS", (0.25,))
    made = usable.candidates(materials)
    assert {one.label for one in made} == {"planning (start)", "computation (start)"}
    assert {one.origin for one in made} == {"base activations, base text"}
    kept = [Direction.load(path) for path in (tmp_path / "directions").iterdir()]
    assert {one.origin for one in kept} == {"base activations, base text"}
