"""All readings in one call: equal models agree in every table, and ahead needs the texts."""

import numpy as np
import pytest

from hooks.activations import Activations
from probes.latent.preexistence import preexistence
from tests.probes.latent.test_ahead import LENGTH, corpus, plain


def test_equal_models_agree_in_every_table() -> None:
    rows, decisions, label = corpus(2)
    here = rows.where((rows.rows["pos"] == LENGTH - 1).to_numpy())
    tokens = plain(decisions)
    found = preexistence(here, here, label, tokens=tokens, before=rows, ks=range(4), n_boot=100)
    assert set(found.frames) == {"models", "transfer", "alignment", "cosines", "subspaces", "ahead"}
    assert found.frame["rl_minus_base"].iloc[0] == 0
    assert found.frames["cosines"]["cosine"].iloc[0] == pytest.approx(1)
    assert found.frames["cosines"]["apart"].iloc[0] > 0.8
    curve = found.frames["ahead"].set_index("k")["auroc"]
    assert curve[1] > 0.85
    assert curve[3] < 0.62
    # The probe at the decision is the same probe whichever way it is asked for.
    assert curve[0] == pytest.approx(found.frame["base_auroc"].iloc[0], abs=2e-3)
    assert "0 of 1 probes differ" in str(found)
    assert np.isfinite(found.plot().data[0].y).all()


def test_without_the_tokens_before_there_is_no_ahead() -> None:
    rows, _, label = corpus(2)
    here: Activations = rows.where((rows.rows["pos"] == LENGTH - 1).to_numpy())
    assert "ahead" not in preexistence(here, here, label, n_boot=100).frames
    with pytest.raises(ValueError, match="tokens="):
        preexistence(here, here, label, before=rows)
