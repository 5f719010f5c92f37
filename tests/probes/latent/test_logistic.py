import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.latent.logistic import logistic_path

STRENGTHS = (1e-4, 1e-2, 1.0, 1e2, 1e4)


def objective(X, y, w, b, C, weight=None):
    z = np.where(y, 1.0, -1.0) * (X @ w + b)
    weight = np.ones(len(y)) if weight is None else weight
    return C * np.sum(weight * np.logaddexp(0, -z)) + 0.5 * w @ w


def slow_newton(X, y, C, weight=None, steps=300):
    """Damped Newton on dense float64 matrices: what the fast path must equal."""
    X = X - X.mean(axis=0)
    A, s = np.column_stack([X, np.ones(len(X))]), np.ones(len(y)) if weight is None else weight
    ridge, w = np.r_[np.full(X.shape[1], 1 / C), 0.0], np.zeros(X.shape[1] + 1)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-A @ w))
        gradient = A.T @ (s * (p - y)) + ridge * w
        step = np.linalg.lstsq((A.T * (s * p * (1 - p))) @ A + np.diag(ridge), gradient, rcond=1e-16)[0]
        here, size = objective(X, y, w[:-1], w[-1], C, s), 1.0
        while size > 1e-6 and not objective(X, y, (w - size * step)[:-1], (w - size * step)[-1], C, s) <= here:
            size /= 2
        w = w - size * step if size > 1e-6 else w
    return objective(X, y, w[:-1], w[-1], C, s)


def oracle(X, y, C, weight=None):
    """The best that scikit-learn and the slow twin find."""
    fit = LogisticRegression(C=C, solver="lbfgs", tol=1e-12, max_iter=20_000).fit(X, y, sample_weight=weight)
    return min(objective(X, y, fit.coef_[0], fit.intercept_[0], C, weight), slow_newton(X, y, C, weight, steps=60))


def gaps(X, y, weight=None, strengths=STRENGTHS, **options):
    fitted = logistic_path(X, y, C=list(strengths), sample_weight=weight, **options)
    out = []
    for at, C in enumerate(strengths):
        own = objective(X, y, fitted.coef[at], fitted.intercept[at], C, weight)
        best = oracle(X, y, C, weight)
        out.append((own - best) / best)
        assert fitted.objective[at] == pytest.approx(own, rel=1e-5)
    assert fitted.converged.all()
    return max(out)


def noisy(X, rng, slope=1.0, offset=0.0):
    w = rng.normal(size=X.shape[1]) / np.sqrt(X.shape[1]) * slope
    return rng.random(len(X)) < 1 / (1 + np.exp(-(X @ w + offset)))


def cases():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 12))
    yield "well conditioned", X, noisy(X, rng, 2)
    mixing = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    yield "spectrum over six decades", X @ np.diag(np.logspace(0, -6, 12)) @ mixing, noisy(X, rng, 2)
    scales = X * np.logspace(-4, 4, 12) + 1e3
    yield "columns of all sizes, far from zero", scales, noisy(X, rng, 2)
    yield "separable", X, X[:, 0] > 0.3
    wide = rng.normal(size=(60, 150))
    yield "fewer rows than columns", wide, noisy(wide, rng, 3)
    many = rng.normal(size=(3000, 6))
    rare = np.zeros(3000, dtype=bool)
    rare[np.argsort(many[:, 0] + rng.normal(size=3000))[-3:]] = True
    yield "one in a thousand", many, rare
    yield "constant columns", np.column_stack([X, np.ones(400), np.zeros(400), np.full(400, 7.0)]), noisy(X, rng, 2)
    yield "duplicate columns", np.column_stack([X, X, X[:, :3] + 1e-9]), noisy(X, rng, 2)
    yield "one column", X[:, :1], noisy(X, rng, 2)
    yield "heavy tails", rng.standard_t(1.5, size=(400, 12)) * 10, noisy(X, rng, 2)


@pytest.mark.parametrize(("name", "X", "y"), [pytest.param(*case, id=case[0]) for case in cases()])
def test_same_optimum_as_scikit_learn(name, X, y):
    assert gaps(X, y) < 1e-6


def test_float32_input_is_solved_to_the_same_gap():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(500, 20)).astype(np.float32)
    y = noisy(X, rng, 2)
    assert gaps(X.astype(float), y) < 1e-6
    a, b = logistic_path(X, y, C=[1.0]), logistic_path(torch.from_numpy(X), torch.from_numpy(y), C=[1.0])
    np.testing.assert_array_equal(a.coef, b.coef)


def test_weights_are_repetitions_and_class_weights_are_scikit_learns():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 5))
    y = noisy(X, rng, 2, -2)
    weight = rng.integers(0, 4, size=200)
    weighted = logistic_path(X, y, C=[0.3], sample_weight=weight)
    repeated = logistic_path(np.repeat(X, weight, axis=0), np.repeat(y, weight), C=[0.3])
    np.testing.assert_allclose(weighted.coef, repeated.coef, atol=1e-4)
    for choice in ("balanced", {0: 0.5, 1: 3.0}):
        own = logistic_path(X, y, C=[0.3], class_weight=choice, tolerance=1e-10)
        theirs = LogisticRegression(C=0.3, class_weight=choice, tol=1e-10).fit(X, y)
        np.testing.assert_allclose(own.coef, theirs.coef_, atol=1e-4)
        np.testing.assert_allclose(own.intercept, theirs.intercept_, atol=1e-4)
    assert gaps(X, y, weight.astype(float)) < 1e-6


def test_order_of_strengths_is_kept():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(100, 4))
    y = noisy(X, rng)
    up, down = logistic_path(X, y, C=[0.01, 10.0]), logistic_path(X, y, C=[10.0, 0.01])
    np.testing.assert_array_equal(up.coef, down.coef[::-1])
    assert np.linalg.norm(up.coef[1]) > np.linalg.norm(up.coef[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(10)}, "needs both"),
        ({"y": np.arange(10)}, "0 and 1"),
        ({"y": [0, 1]}, "one label a row"),
        ({"X": np.full((10, 2), np.nan)}, "not finite"),
        ({"C": [0.0]}, "positive number"),
        ({"C": []}, "positive number"),
        ({"sample_weight": -np.ones(10)}, "non-negative"),
        ({"class_weight": {1: 2.0}}, "class_weight"),
    ],
)
def test_refusals(change, message):
    given = {"X": np.random.default_rng(0).normal(size=(10, 2)), "y": np.arange(10) % 2, **change}
    with pytest.raises(ValueError, match=message):
        logistic_path(given.pop("X"), given.pop("y"), **given)
