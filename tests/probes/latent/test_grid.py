"""The grid over layers and doses: a cell is a single curve's, a finished layer is kept, another request is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from hooks.direction import Direction
from hooks.pair import Pair
from hooks.sites import Site
from probes.latent import grid as grid_module
from probes.latent.dose import dose_response
from probes.latent.grid import steering_grid
from probes.tasks import Problem


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    base, rl = llama_pair_dirs
    return Pair.load(str(base), str(rl))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return [Problem(id=f"p{i}", prompt=f"{i}+{i}=", answer=str(2 * i), kind="math") for i in range(5)]


def vectors(*layers: int) -> list[Direction]:
    drawn = torch.randn(len(layers), 32, generator=torch.Generator().manual_seed(0))
    return [Direction(one, Site("resid_post", layer), label="computation") for one, layer in zip(drawn, layers)]


def asked(**changes: Any) -> dict[str, Any]:
    return {"alphas": (-1.0, 2.0), "positions": "generated", "n_boot": 100,
            "annotator": "english", "settings": {"max_new_tokens": 5}, **changes}  # fmt: skip


def test_a_layer_of_the_grid_is_its_own_curve(pair: Pair, problems: list[Problem]) -> None:
    found = steering_grid(pair, problems, vectors(0, 2), **asked()).frame
    assert list(found["layer"]) == [0, 0, 0, 2, 2, 2]
    for one in vectors(0, 2):
        alone = dose_response(pair, problems, one, relative=False, **asked()).frame
        own = found[found["layer"] == one.site.layer].reset_index(drop=True)
        pd.testing.assert_frame_equal(own[list(alone.columns)], alone)
    moved = found.set_index(["layer", "alpha"])["kl"]
    assert moved[0, 2.0] != moved[2, 2.0]
    assert moved[0, 0.0] == pytest.approx(0, abs=1e-6)


def test_a_finished_layer_is_kept_and_the_batch_size_changes_nothing(
    pair: Pair, problems: list[Problem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = steering_grid(pair, problems, vectors(0, 1, 2), **asked())
    done: list[int] = []
    real = grid_module._layer

    def killed(*inputs: Any) -> pd.DataFrame:
        done.append(inputs[2].site.layer)
        if len(done) == 3:
            raise KeyboardInterrupt
        return real(*inputs)

    monkeypatch.setattr(grid_module, "_layer", killed)
    with pytest.raises(KeyboardInterrupt):
        steering_grid(pair, problems, vectors(0, 1, 2), out=tmp_path, **asked())
    smaller = asked(settings={"max_new_tokens": 5, "batch_size": 3})
    again = steering_grid(pair, problems, vectors(0, 1, 2), out=tmp_path, **smaller)
    assert done == [0, 1, 2, 2]
    pd.testing.assert_frame_equal(again.frame, whole.frame, rtol=1e-4, atol=1e-6)
    for change in ({"alphas": (3.0,)}, {"positions": "last_prompt"}, {"seed": 4}):
        with pytest.raises(ValueError, match="other settings"):
            steering_grid(pair, problems, vectors(0, 1, 2), out=tmp_path, **asked(**change))


def test_a_grid_draws_itself_and_refuses_nonsense(pair: Pair, problems: list[Problem]) -> None:
    found = steering_grid(pair, problems, vectors(1), **asked())
    assert "1 layer and 3 doses" in str(found)
    assert [trace.type for trace in found.plot().data] == ["heatmap"] * 3
    for wrong in ([], vectors(1, 1)):
        with pytest.raises(ValueError, match="different layers"):
            steering_grid(pair, problems, wrong, **asked())
