"""Weights that cannot be those of the samples are refused, and no new text in many problems is not none for sure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from probes.samples.suppression_mass import new_mass, weighed
from probes.stats import wilson


def texts(ratio: float, problems: int = 60, samples: int = 4) -> pd.DataFrame:
    """Samples whose RL log-probability lies ``ratio`` above the base's."""
    base = -np.random.default_rng(0).uniform(3, 6, problems * samples)
    return pd.DataFrame(
        {
            "problem": np.repeat([f"p{at}" for at in range(problems)], samples), "logp_base": base,
            "logp_rl": base + ratio, "correct": np.tile([1.0, 0.0], problems * samples // 2),
        }
    )  # fmt: skip


@pytest.mark.parametrize(("ratio", "said"), [(0.0, ""), (0.6, ""), (-1.0, "cover"), (0.8, "another temperature")])
def test_a_mean_weight_far_from_one_is_refused_on_either_side(ratio, said):
    why = weighed(texts(ratio)).refusal()
    assert (said in why) if said else why == ""
    assert bool(why) == bool(said)


def test_a_heavy_weight_by_chance_is_refused_for_what_it_is():
    few = texts(0.0)
    few.loc[0, "logp_rl"] += 7.0
    assert weighed(few).covered > 2
    assert "effective samples" in weighed(few).refusal()


def test_no_new_text_and_nothing_but_new_texts_have_an_interval():
    for ratio, value in ((0.0, 0.0), (20.0, 1.0)):
        for one in new_mass(texts(ratio)).values():
            found, expected = one.estimate(), wilson(60 * value, 60)
            assert (found.value, found.low, found.high) == pytest.approx((value, expected.low, expected.high))
