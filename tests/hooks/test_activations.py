"""Activations say whose they are, in memory as on disk, and a site of a store travels to another process."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from hooks.capture import capture
from hooks.pair import Pair
from hooks.recording import recording
from hooks.store import ActivationStore

TEXTS = ["wait 12+7*3", "then 4", "8*9-4+2"]


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    return Pair.load(*map(str, llama_pair_dirs))


def test_the_manifest_in_memory_names_role_and_weights_as_the_store_does(pair: Pair, tmp_path: Path) -> None:
    capture(pair, TEXTS, sites="resid_post.1", store=tmp_path / "acts")
    store = ActivationStore.open(tmp_path / "acts")
    memory = capture(pair, TEXTS, sites="resid_post.1")
    for role, model in (("base", pair.base), ("rl", pair.rl)):
        written, here = store.manifest["sides"][role], memory[role].manifest
        assert here["role"] == role
        assert here["weights"] == written["weights"] == model.weights_hash
        assert (here["model"], here["revision"], here["dtype"]) == (
            written["model"], written["revision"], written["dtype"],
        )  # fmt: skip
    assert memory["base"].manifest["weights"] != memory["rl"].manifest["weights"]


def test_a_tape_names_them_too(pair: Pair) -> None:
    ids = [pair.rl.encode([text])[0] for text in TEXTS]
    with recording(pair.rl, "resid_post.1") as tape:
        for own in ids:
            pair.rl.net(torch.tensor([list(own)]))
    found = tape.activations(ids).manifest
    assert (found["role"], found["weights"]) == ("rl", pair.rl.weights_hash)


def test_a_site_that_was_read_travels_by_name(pair: Pair, tmp_path: Path) -> None:
    view = capture(pair, TEXTS, sites="resid_post.1", store=tmp_path / "acts")["rl"]["resid_post.1"]
    before = view[:].clone()
    assert view._open
    sent = ForkingPickler.loads(ForkingPickler.dumps(view))
    # No mapped file goes along, and what is read there is what is read here.
    assert not sent._open
    assert torch.equal(sent[:], before)
    assert len(ForkingPickler.dumps(view)) == len(ForkingPickler.dumps(type(view)(view.ledger, view.side, view.site)))
