import numpy as np
import pytest
import torch

from probes.latent.matrix import SiteMatrix, distinct, whole


def test_distinct_rows_are_found_exactly():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(20, 7)).astype(np.float32)
    pick = rng.integers(0, 20, size=300)
    first, inverse = distinct(base[pick])
    np.testing.assert_array_equal(base[pick][first][inverse], base[pick])
    assert len(first) == len(np.unique(pick))
    assert list(first) == sorted(first)
    near = base[pick].copy()
    near[5] = np.nextafter(near[5], np.inf)
    assert len(distinct(near)[0]) == len(first) + 1


def test_empty_and_featureless_matrices():
    for shape in ((0, 3), (4, 0)):
        first, inverse = distinct(np.zeros(shape, dtype=np.float32))
        assert len(first) == len(inverse) == shape[0]


def test_standardised_over_rows_not_over_distinct_rows():
    rows = torch.tensor([[1.0, 5.0, 0.1], [1.0, 5.0, 0.1], [1.0, 5.0, 0.1], [4.0, 5.0, 0.1]])
    site = SiteMatrix.of(rows)
    assert len(site) == 2
    assert site.mean.tolist() == pytest.approx([1.75, 5.0, 0.1])
    back = (site.matrix.double() * site.scale + site.mean)[torch.from_numpy(site.inverse)]
    torch.testing.assert_close(back.float(), rows)
    assert site.matrix[:, 1:].abs().max() == 0


def test_scales_are_the_variances_of_the_training_rows():
    rng = np.random.default_rng(1)
    rows = torch.tensor(rng.normal(size=(50, 4)), dtype=torch.float32)
    site = SiteMatrix.of(rows)
    train = np.stack([np.arange(50) < 30, np.arange(50) >= 20]).astype(float)
    scales = site.scales(site.totals(train))
    spread = site.matrix[torch.from_numpy(site.inverse)].double()
    for own, mask in zip(scales, train, strict=True):
        torch.testing.assert_close(own, spread[mask > 0].var(0, correction=0))


def test_coefficients_go_back_to_the_rows_as_given():
    rng = np.random.default_rng(2)
    rows = torch.tensor(rng.normal(size=(30, 3)) * [1, 10, 0.1] + 4, dtype=torch.float32)
    site = SiteMatrix.of(rows)
    coef, intercept = torch.tensor(rng.normal(size=(2, 3))), torch.tensor([0.5, -1.0], dtype=torch.float64)
    outside, shift = site.raw(coef, intercept)
    logits = site.logits(coef, intercept)[:, torch.from_numpy(site.inverse)].double()
    torch.testing.assert_close(outside @ rows.double().T + shift[:, None], logits, atol=1e-4, rtol=1e-4)


def test_not_finite_is_refused_by_row():
    with pytest.raises(ValueError, match="row 1"):
        SiteMatrix.of(torch.tensor([[0.0], [float("inf")]]))


def test_whole_takes_tensors_and_arrays():
    rows = np.ones((2, 3), dtype=np.float32)
    assert torch.equal(whole(rows), whole(torch.from_numpy(rows)))
