"""The divergence formulas against sums written out, and at the edges where logarithms break."""

import math

import numpy as np
import pytest
import torch

from hooks.divergence import entropy, js, kl, log_probs


def slow(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float, float]:
    """Entropy of a, KL(a || b) and JS of two logit vectors, one token at a time in double precision."""
    p, q = (np.exp(x.double().numpy() - x.double().logsumexp(0).item()) for x in (a, b))
    h = -sum(x * math.log(x) for x in p if x > 0)
    kl_ = sum(x * math.log(x / y) if y > 0 else math.inf for x, y in zip(p, q) if x > 0)
    js_ = sum(0.5 * x * math.log(2 * x / (x + y)) for x, y in zip(p, q) if x > 0)
    js_ += sum(0.5 * y * math.log(2 * y / (x + y)) for x, y in zip(p, q) if y > 0)
    return h, kl_, js_


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_equal_the_sums_written_out(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    a = 3 * torch.randn(2, 5, 97, generator=generator, dtype=dtype)
    b = a + torch.randn(2, 5, 97, generator=generator, dtype=dtype)
    got = entropy(log_probs(a)), kl(log_probs(a), log_probs(b)), js(log_probs(a), log_probs(b))
    for at in np.ndindex(2, 5):
        for mine, theirs in zip(got, slow(a[at], b[at]), strict=True):
            assert math.isclose(float(mine[at]), theirs, rel_tol=tolerance, abs_tol=tolerance)
    assert all(value.dtype == dtype and value.shape == (2, 5) for value in got)


def test_half_precision_is_computed_in_single() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert log_probs(logits).dtype == torch.float32
    assert torch.equal(log_probs(logits), log_probs(logits.float()))


def test_symmetric_bounded_and_zero_on_equals() -> None:
    a, b = torch.zeros(1, 4), torch.tensor([[0.0, 5.0, -5.0, 1.0]])
    assert torch.equal(js(log_probs(a), log_probs(b)), js(log_probs(b), log_probs(a)))
    assert float(js(log_probs(b), log_probs(b))) < 1e-7
    assert float(js(log_probs(b.double()), log_probs(b.double()))) < 1e-15
    apart = torch.tensor([[200.0, -200.0]])
    assert math.isclose(float(js(log_probs(apart), log_probs(-apart))), math.log(2), rel_tol=1e-6)
    assert float(entropy(log_probs(apart))) == 0.0


def test_small_divergences_are_resolved() -> None:
    a = torch.randn(1, 1000, generator=torch.Generator().manual_seed(1))
    b = a + 1e-3 * torch.randn(1, 1000, generator=torch.Generator().manual_seed(2))
    exact = slow(a[0], b[0])[2]
    assert 0 < exact < 1e-6
    assert math.isclose(float(js(log_probs(a), log_probs(b))), exact, abs_tol=3e-8)


def test_forbidden_tokens_weigh_nothing_and_nan_stays_nan() -> None:
    a, b = torch.tensor([[0.0, 0.0, -math.inf]]), torch.tensor([[0.0, -math.inf, -math.inf]])
    assert math.isclose(float(entropy(log_probs(a))), math.log(2), rel_tol=1e-6)
    assert math.isclose(float(kl(log_probs(b), log_probs(a))), math.log(2), rel_tol=1e-6)
    assert float(kl(log_probs(a), log_probs(b))) == math.inf
    assert math.isclose(float(js(log_probs(a), log_probs(b))), slow(a[0], b[0])[2], rel_tol=1e-6)
    broken = log_probs(torch.tensor([[0.0, math.nan, 1.0]]))
    assert all(math.isnan(float(value)) for value in (entropy(broken), js(broken, a), kl(broken, a)))
