"""Procrustes: a planted turn is undone, on rows it was not fitted on; noise leaves a misfit."""

import numpy as np
import pytest

from probes.latent.alignment import align, misfit
from tests.probes.latent.planted import planted, rotation


def test_a_planted_rotation_and_scale_are_found() -> None:
    base = planted(400)[0]
    turn = rotation()
    rl = 3.0 * base @ turn + np.arange(12.0)
    found = align(base[:200], rl[:200])
    np.testing.assert_allclose(found.rotation, turn, atol=1e-8)
    assert found.scale == pytest.approx(3.0)
    np.testing.assert_allclose(found.forward(base[200:]), rl[200:], atol=1e-6)
    np.testing.assert_allclose(found.backward(rl[200:]), base[200:], atol=1e-6)


def test_the_slow_reference_agrees() -> None:
    base, rl, _, _ = planted(300, shared=0.5)
    a, b = base - base.mean(0), rl - rl.mean(0)
    left, values, right = np.linalg.svd(a.T @ b)
    found = align(base, rl)
    np.testing.assert_allclose(found.rotation, left @ right, atol=1e-8)
    assert found.scale == pytest.approx(values.sum() / (a**2).sum())
    assert 0 < found.scale < 1


def test_misfit_is_none_for_equals_and_all_for_the_mean() -> None:
    rows = planted(50)[0]
    missed, spread = misfit(rows, rows, rows.mean(0))
    assert missed.sum() == 0
    assert misfit(np.broadcast_to(rows.mean(0), rows.shape), rows, rows.mean(0))[0].sum() == pytest.approx(spread.sum())


def test_rows_that_are_not_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="same tokens"):
        align(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="at least one row"):
        align(np.zeros((0, 2)), np.zeros((0, 2)))
