"""Sites by name, and positions that mean the same on a prefix as on the whole."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks.sites import FINE, KINDS, Positions, Site, expand_sites
from tests.families import tokenizer

WORDS = tokenizer()


def test_site_text_round_trip():
    for kind in KINDS + FINE:
        site = Site(kind, 12)
        assert Site.parse(str(site)) == site
        assert Site.parse(site) is site
    assert str(Site("resid_post", 12)) == "resid_post.12"


@pytest.mark.parametrize("text", ["resid_post", "resid_post.", "resid_post.x", "resid_post.-1", "nothing.3", ""])
def test_site_that_is_none(text: str):
    with pytest.raises(ValueError):
        Site.parse(text)


def test_bridge_names():
    assert Site("resid_mid", 3).bridge_name == "blocks.3.hook_resid_mid"
    assert Site("attn_out", 0).bridge_name == "blocks.0.hook_attn_out"
    assert Site("pattern", 2).bridge_name == "blocks.2.attn.hook_pattern"


def test_expand_patterns():
    texts = lambda sites, n=3: [str(site) for site in expand_sites(sites, n)]  # noqa: E731
    assert texts("resid_post.*") == ["resid_post.0", "resid_post.1", "resid_post.2"]
    assert texts("*.1") == [f"{kind}.1" for kind in KINDS]
    assert texts("resid_post.-1") == ["resid_post.2"]
    assert texts(["mlp_out.2", Site("mlp_out", 2), "attn_out.0"]) == ["mlp_out.2", "attn_out.0"]
    assert texts("z.*") == ["z.0", "z.1", "z.2"]
    assert texts("resid_post.1?", 12) == ["resid_post.10", "resid_post.11"]
    assert texts("resid_p*.0, z.1") == ["resid_pre.0", "resid_post.0", "z.1"]


@pytest.mark.parametrize("sites", ["resid.0", "resid_post.3", "resid_post.-4", "resid_post", [], "", Site("z", 7)])
def test_expand_refuses(sites: object):
    with pytest.raises(ValueError):
        expand_sites(sites, 3)


def test_expand_names_what_exists():
    with pytest.raises(ValueError, match="layers 0 to 2"):
        expand_sites("resid_post.7", 3)
    with pytest.raises(ValueError, match="resid_pre, resid_mid"):
        expand_sites("residual.1", 3)


ids_lists = st.lists(st.integers(4, 53), min_size=1, max_size=24)


def rules() -> st.SearchStrategy[Positions]:
    small = st.integers(0, 6)
    simple = st.one_of(
        st.sampled_from(["all", "prompt", "last_prompt", "generated", "completion"]).map(Positions.parse),
        small.map(Positions.first),
        small.map(lambda n: Positions.every(n + 1)),
        st.tuples(st.integers(-4, 6), st.integers(-4, 9)).map(lambda pair: Positions.window(*pair)),
        st.lists(st.integers(4, 53), min_size=1, max_size=9).map(lambda ids: Positions.after(token_ids=ids)),
        st.sampled_from(["wait", "[0-9]+", "a.?", "(?m)^.", "[a-m]{2}"]).map(lambda text: Positions.after(regex=text)),
        st.lists(st.booleans(), max_size=24).map(lambda row: Positions.mask([row])),
        st.lists(st.tuples(small, small), max_size=3).map(lambda spans: Positions.spans([spans])),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
            st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
            inner.map(lambda rule: ~rule),
        ),
        max_leaves=4,
    )


@settings(max_examples=300, deadline=None)
@given(rules(), ids_lists, st.integers(0, 12), st.data())
def test_positions_are_causal(rule: Positions, ids: list[int], n_prompt: int, data: st.DataObject):
    whole = rule.select(ids, n_prompt, tokenizer=WORDS)
    assert whole.shape == (len(ids),)
    assert whole.dtype == bool
    cut = data.draw(st.integers(1, len(ids)))
    np.testing.assert_array_equal(rule.select(ids[:cut], n_prompt, tokenizer=WORDS), whole[:cut])
    assert rule.step(ids[:cut], n_prompt, tokenizer=WORDS) == whole[cut - 1]
    np.testing.assert_array_equal(rule.select(np.array(ids), n_prompt, tokenizer=WORDS), whole)


@settings(max_examples=100, deadline=None)
@given(rules(), rules(), ids_lists, st.integers(0, 12))
def test_positions_algebra(left: Positions, right: Positions, ids: list[int], n_prompt: int):
    chosen = lambda rule: rule.select(ids, n_prompt, tokenizer=WORDS)  # noqa: E731
    np.testing.assert_array_equal(chosen(~(left & right)), chosen(~left | ~right))
    np.testing.assert_array_equal(chosen(left & ~left), np.zeros(len(ids), bool))
    hash(left), str(left)


@pytest.mark.parametrize("n_prompt", [0, 1, 3, 8])
def test_positions_against_their_definition(n_prompt: int):
    ids = list(range(4, 12))
    expected = {
        "all": lambda t: True,
        "prompt": lambda t: t < n_prompt,
        "last_prompt": lambda t: t == n_prompt - 1,
        "generated": lambda t: t + 1 >= n_prompt,
        "completion": lambda t: t >= n_prompt,
        "first:2": lambda t: n_prompt - 1 <= t < n_prompt + 1,
        "every:3": lambda t: t - (n_prompt - 1) in (0, 3, 6),
        "window:1:3": lambda t: n_prompt + 1 <= t < n_prompt + 3,
        "window:-2:": lambda t: t >= n_prompt - 2,
    }
    for text, truth in expected.items():
        rule = Positions.parse(text)
        assert str(rule) == text
        assert Positions.parse(rule) is rule
        assert rule.select(ids, n_prompt).tolist() == [truth(t) for t in range(8)]


def test_after_against_the_decoded_prefix():
    ids = WORDS("47 wait, 12 wait", add_special_tokens=False).input_ids
    for regex in ("wait", r"\d\d", r", 1", "[a-z ]+"):
        rule = Positions.after(regex=regex)
        slow = [re.search(rf"(?:{regex})\Z", WORDS.decode(ids[: t + 1])) is not None for t in range(len(ids))]
        assert rule.select(ids, 0, tokenizer=WORDS).tolist() == slow
        assert any(slow)
        assert rule.needs_tokenizer
        assert (~rule & Positions.all()).needs_tokenizer
    assert Positions.after(token_ids=[ids[0]]).select(ids, 0).tolist() == [token == ids[0] for token in ids]


def test_after_sees_no_start_of_text_where_its_look_back_ends():
    ids = WORDS("a" * 200, add_special_tokens=False).input_ids
    assert Positions.after(regex="^a+").select(ids, 0, tokenizer=WORDS).nonzero()[0].max() == 63


def test_mask_and_spans_are_by_row():
    mask = Positions.mask([[True, False, True], [False]])
    assert mask.select([4, 5, 6, 7], 2, row=0).tolist() == [True, False, True, False]
    assert mask.select([4, 5, 6, 7], 2, row=1).tolist() == [False] * 4
    spans = Positions.spans([[(0, 1), (2, 9)], []])
    assert spans.select([4, 5, 6, 7, 8], 2, row=0).tolist() == [False, False, True, False, True]
    for rule in (mask, spans):
        with pytest.raises(ValueError, match="row 2"):
            rule.select([4], 1, row=2)


def test_positions_that_are_none():
    assert Positions.all().select([], 0).tolist() == []
    with pytest.raises(ValueError, match="empty sequence"):
        Positions.all().step([], 0)
    with pytest.raises(ValueError, match="tokenizer"):
        Positions.after(regex="x").select([4, 5], 1)
    for text in ("everything", "first", "first:", "every:0", "first:-1", "window:1", "generated:2", "first:x"):
        with pytest.raises(ValueError):
            Positions.parse(text)
    for wrong in ({}, {"regex": "("}, {"regex": "x*"}):
        with pytest.raises(ValueError):
            Positions.after(**wrong)
    with pytest.raises(ValueError, match="n_prompt"):
        Positions.all().select([4], -1)
