"""Arms that are all right have an interval, lengths keep theirs, and texts without a token count to no share."""

from __future__ import annotations

import numpy as np
import pytest

from probes.routing import recovery
from probes.routing.paired import pair_up
from probes.stats import wilson
from tests.probes.routing.texts import graded

OPTIONS = {"n_boot": 200, "level": 0.95, "seed": 0}


def test_an_arm_that_is_always_right_is_not_always_right_for_sure():
    right, wrong = np.ones((60, 2), dtype=bool), np.zeros((60, 2), dtype=bool)
    result = recovery(base=graded(wrong), rl=graded(right), mixed=graded(right, opened=0))
    none = wilson(0, 60).high
    assert (result.accuracy["mixed"].low, result.accuracy["mixed"].high) == pytest.approx((1 - none, 1))
    assert (result.accuracy["base"].low, result.accuracy["base"].high) == pytest.approx((0, none))
    # A gate that never opened may open on a problem that was not asked.
    assert (result.routed.value, result.routed.low, result.routed.high) == pytest.approx((0, 0, none))
    # A length has no upper bound, and ten tokens in every text are ten tokens.
    assert (result.length["rl"].low, result.length["rl"].high) == (10, 10)


def test_a_share_of_tokens_rests_on_the_problems_that_have_tokens():
    arms = {"base": graded(np.ones((20, 1), dtype=bool)), "rl": graded(np.ones((20, 1), dtype=bool), opened=10)}
    paired = pair_up(arms)
    whole = np.where(np.arange(20) < 4, 10.0, 0.0)
    found = paired.share(whole, whole, **OPTIONS)  # type: ignore[arg-type]
    assert (found.n, found.value) == (4, 1.0)
    assert found.low == pytest.approx(wilson(4, 4).low)
