import numpy as np
import pytest

from probes.latent.splits import GroupedFolds, LeakError, check_no_leak, grouped_folds


def test_groups_stay_whole_and_folds_are_even():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, size=1000).astype(str)
    folds = grouped_folds(groups, folds=5)
    check_no_leak(groups, folds)
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 30


def test_order_of_rows_does_not_matter_and_the_seed_does():
    groups = np.repeat([f"p{i}" for i in range(30)], 7)
    order = np.random.default_rng(1).permutation(len(groups))
    folds = grouped_folds(groups, seed=3)
    np.testing.assert_array_equal(grouped_folds(groups[order], seed=3), folds[order])
    assert (grouped_folds(groups, seed=4) != folds).any()


def test_one_huge_group_leaves_no_fold_empty():
    groups = np.array(["big"] * 1000 + ["a", "b", "c", "d"])
    assert len(np.unique(grouped_folds(groups, folds=5))) == 5


def test_a_leak_is_an_error_that_names_the_group():
    groups = np.array(["a", "a", "b", "b"])
    with pytest.raises(LeakError, match=r"'b'.*1 groups"):
        check_no_leak(groups, np.array([0, 0, 0, 1]))
    check_no_leak(groups, np.array([0, 0, 1, 1]))


def test_refusals():
    with pytest.raises(ValueError, match="cannot be split"):
        grouped_folds(np.array(["a", "b"]), folds=3)
    with pytest.raises(ValueError, match="one fold a row"):
        check_no_leak(["a", "b"], np.array([0]))
    with pytest.raises(ValueError, match="needs groups"):
        next(GroupedFolds().split(np.zeros((4, 1))))


def test_splitter_covers_every_row_once():
    groups = np.repeat(np.arange(12), 3)
    seen = np.concatenate([test for _, test in GroupedFolds(4).split(None, None, groups)])
    assert sorted(seen) == list(range(36))
    assert GroupedFolds(4).get_n_splits() == 4
