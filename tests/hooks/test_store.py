"""The store: what was captured comes back, whatever is killed, cut, flipped, swapped, shared or full."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from hooks import shards
from hooks.capture import capture
from hooks.deposit import Ledger, shard_bounds
from hooks.locks import StoreBusy, writing
from hooks.model import Model
from hooks.pair import Pair
from hooks.positions import Positions
from hooks.shards import BLOCK, DamagedShard, DiskFull, MappedShard, ShardSpec, ShardWriter
from hooks.store import ActivationStore
from tests.families import tiny
from tests.hooks.test_capture import prompted

SMALL: dict[str, Any] = {"shard_bytes": 4000, "batch_tokens": 64}
"""Shards of about 32 rows."""


@pytest.fixture(scope="module")
def model(llama_dir: Path) -> Model:
    return Model.load(llama_dir)


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    return Pair.load(*llama_pair_dirs)


@pytest.fixture
def store(model: Model, tmp_path: Path) -> ActivationStore:
    return capture(model, prompted(30), sites="resid_post.*", store=tmp_path / "acts", **SMALL)


def tree(path: Path) -> dict[str, bytes]:
    """Every file of a store with its bytes."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_what_was_captured_comes_back(model: Model, store: ActivationStore) -> None:
    acts = capture(model, prompted(30))
    assert list(store) == list(acts)
    assert store.complete
    assert len(store) == 3
    assert "resid_post.1" in store
    assert "resid_post.9" not in store
    assert store.ledger.n_shards > 5
    pd.testing.assert_frame_equal(store.rows, acts.rows)
    for site in store.sites:
        torch.testing.assert_close(store[site].torch(), acts[site], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(store[site].numpy(), store[site].torch().numpy())
    with pytest.raises(KeyError, match=r"resid_post\.0"):
        store["resid_post.9"]


def test_a_view_is_indexed_like_a_matrix(store: ActivationStore) -> None:
    view, whole = store["resid_post.1"], store["resid_post.1"].torch().clone()
    n = len(view)
    rng = np.random.default_rng(0)
    assert view.shape == tuple(whole.shape)
    assert view.dtype == torch.float32
    for index in (
        0,
        -1,
        n - 1,
        slice(None),
        slice(3, 200),
        slice(40, 2),
        slice(-5, None),
        slice(0, n, 7),
        slice(9, 0, -2),
    ):
        expected = whole[list(range(*index.indices(n)))] if isinstance(index, slice) else whole[index]
        assert torch.equal(view[index], expected)
    picked = rng.integers(-n, n, size=50)
    mask = rng.random(n) < 0.2
    for given, plain in ((picked, picked), (picked.tolist(), picked), (mask, mask), (mask.tolist(), mask)):
        assert torch.equal(view[given], whole[torch.from_numpy(plain)])
    assert torch.equal(view[torch.from_numpy(mask)], whole[torch.from_numpy(mask)])
    assert torch.equal(view[pd.Series(mask)], whole[torch.from_numpy(mask)])
    assert view[[]].shape == (0, 32)
    assert np.asarray(view).dtype == np.float32
    assert np.asarray(view, dtype=np.float64).dtype == np.float64
    for bad in (n, [0, n], [-n - 1]):
        with pytest.raises(IndexError, match="rows 0 to"):
            view[bad]
    with pytest.raises(IndexError, match="mask"):
        view[np.array([True])]


def test_a_slice_within_a_shard_is_the_mapped_file(store: ActivationStore) -> None:
    view = store["resid_post.0"]
    one, other = view[2:5], view[3:6]
    assert one[1].data_ptr() == other[0].data_ptr()
    before = tree(store.path)
    one += 1
    assert tree(store.path) == before, "a private mapping never reaches the file"


def test_chunks_pass_every_row_once(store: ActivationStore) -> None:
    whole = store["resid_post.2"].torch()
    parts = list(store["resid_post.2"].chunks(10))
    assert max(len(part) for _, part in parts) <= 10
    assert torch.equal(torch.cat([part for _, part in parts]), whole)
    rows = [table for table, _ in store.chunks(10)]
    pd.testing.assert_frame_equal(pd.concat(rows), store.rows)
    for table, sites in store.chunks(25):
        assert torch.equal(sites["resid_post.2"], whole[table.index.to_numpy().copy()])


def test_shards_are_ordinary_safetensors_files(store: ActivationStore) -> None:
    files = sorted(store.path.glob("model/resid_post.1/*.safetensors"))
    parts = []
    for file in files:
        with safe_open(file, framework="pt") as opened:
            parts.append(opened.get_tensor("x"))
            assert opened.metadata()["site"] == "resid_post.1"
    assert torch.equal(torch.cat(parts), store["resid_post.1"].torch())


def test_describe_join_split_and_text(store: ActivationStore) -> None:
    table = store.describe()
    assert table["written"].tolist() == table["shards"].tolist() == [store.ledger.n_shards] * 3
    assert table["rows"].unique().tolist() == [len(store.rows)]
    assert table["megabytes"].sum() == pytest.approx(3 * len(store.rows) * 32 * 4 / 1e6)
    labels = pd.DataFrame({"problem": ["3"], "label": ["x"]})
    assert store.join(labels)["label"].notna().sum() == (store.rows["problem"] == "3").sum()
    assert len(store.split("problem", n=3)) == 3
    assert "complete" in str(store)
    assert json.loads((store.path / "manifest.json").read_text())["sides"]["model"]["sites"]["resid_post.2"] == 32


def test_half_precision_stays_what_it_is(tmp_path: Path) -> None:
    half = Model.load(tiny("llama", path=tmp_path / "net", dtype=torch.bfloat16), dtype="bfloat16")
    data = prompted(5)
    kept = capture(half, data, store=tmp_path / "a")
    assert kept["resid_post.0"].dtype == torch.bfloat16
    assert torch.equal(kept["resid_post.2"].torch(), capture(half, data)["resid_post.2"])
    assert kept["resid_post.0"].numpy().dtype == np.float32
    cast = capture(half, data, store=tmp_path / "b", dtype="float16")
    assert cast["resid_post.0"].dtype == torch.float16
    with pytest.raises(ValueError, match="other dtype"):
        capture(half, data, store=tmp_path / "a", dtype="float32")


def test_reductions_and_fine_sites_are_stored_too(model: Model, tmp_path: Path) -> None:
    data = prompted(12)
    options: dict[str, Any] = {"sites": ["z.1", "pattern.0", "mlp_out.2"], "positions": "generated", "reduce": "mean"}
    stored, plain = capture(model, data, store=tmp_path / "acts", **options, **SMALL), capture(model, data, **options)
    pd.testing.assert_frame_equal(stored.rows, plain.rows)
    for site in plain:
        torch.testing.assert_close(stored[site].torch(), plain[site], rtol=1e-5, atol=1e-5)


def test_nothing_asked_gives_an_empty_store(model: Model, tmp_path: Path) -> None:
    empty = capture(model, [[5, 6]], positions="completion", store=tmp_path / "acts")
    assert len(empty.rows) == 0
    assert empty.complete
    assert empty["resid_post.0"].torch().shape == (0, 32)
    assert empty["resid_post.0"].numpy().shape == (0, 32)
    assert list(empty["resid_post.0"].chunks()) == []
    assert len(empty.verify()) == 0


# The same request, another request


class Ran(Exception):
    """A forward that should not have been."""


@pytest.fixture
def no_forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[Model], None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise Ran

    return lambda model: monkeypatch.setattr(model, "backbone", refuse)


def test_the_same_request_finds_its_store(
    model: Model, store: ActivationStore, no_forward: Callable[[Model], None]
) -> None:
    before = tree(store.path)
    no_forward(model)
    again = capture(model, prompted(30), sites="resid_post.*", store=store.path)
    assert torch.equal(again["resid_post.1"].torch(), store["resid_post.1"].torch())
    assert tree(store.path) == before


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"data": prompted(29)}, "other tokens"),
        ({"positions": "generated"}, "other positions"),
        ({"reduce": "last"}, "reduction"),
        ({"sites": "resid_post.0"}, "other sites"),
        ({"dtype": "float16"}, "other dtype"),
    ],
)
def test_another_request_is_refused_by_name(
    model: Model, store: ActivationStore, changed: dict[str, Any], says: str
) -> None:
    options: dict[str, Any] = {"data": prompted(30), "sites": "resid_post.*", **changed}
    before = tree(store.path)
    with pytest.raises(ValueError, match=says):
        capture(model, store=store.path, **options)
    assert tree(store.path) == before


def test_other_weights_are_refused(store: ActivationStore, pair: Pair) -> None:
    with pytest.raises(ValueError, match="other weights"):
        capture(pair.rl, prompted(30), sites="resid_post.*", store=store.path)


def test_a_folder_with_other_things_is_left_alone(model: Model, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        capture(model, [[5]], store=tmp_path)
    with pytest.raises(FileNotFoundError, match="no activation store"):
        ActivationStore.open(tmp_path)


def test_manifest_and_rows_that_cannot_be_read_are_named(store: ActivationStore) -> None:
    manifest, rows = store.path / "manifest.json", store.path / "rows.parquet"
    kept = manifest.read_bytes(), rows.read_bytes()
    rows.write_bytes(kept[1][:40])
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be read"):
        ActivationStore.open(store.path)
    store.rows.iloc[:5].to_parquet(rows)
    with pytest.raises(ValueError, match="has 5 rows"):
        ActivationStore.open(store.path)
    manifest.write_bytes(kept[0][:40])
    with pytest.raises(ValueError, match="cannot be read"):
        ActivationStore.open(store.path)
    manifest.write_text(json.dumps({**json.loads(kept[0]), "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        ActivationStore.open(store.path)


# Two sides, several writers


def test_a_pair_at_once_and_one_after_the_other_are_the_same_bytes(pair: Pair, tmp_path: Path) -> None:
    data = prompted(20)
    both = capture(pair, data, store=tmp_path / "at once", **SMALL)
    capture(pair.rl, data, store=tmp_path / "in turn", side="rl", **SMALL)
    capture(pair.base, data, store=tmp_path / "in turn", side="base", **SMALL)
    assert tree(tmp_path / "at once") == tree(tmp_path / "in turn")
    whole = ActivationStore.open(tmp_path / "at once")
    assert list(whole)[:2] == ["base/resid_post.0", "base/resid_post.1"]
    assert torch.equal(whole["rl/resid_post.2"].torch(), both["rl"]["resid_post.2"].torch())
    assert torch.equal(whole.side("rl")["resid_post.2"].torch(), both["rl"]["resid_post.2"].torch())
    assert (both["base"]["resid_post.2"].torch() - both["rl"]["resid_post.2"].torch()).abs().max() > 0.1
    with pytest.raises(ValueError, match="no side 'model'"):
        ActivationStore.open(tmp_path / "at once", side="model")


def test_parts_by_several_writers_are_the_whole(model: Model, store: ActivationStore, tmp_path: Path) -> None:
    for i in (3, 1, 2):
        part = capture(model, prompted(30), sites="resid_post.*", store=tmp_path / "parts", shard=(i, 3), **SMALL)
        assert part.complete == (i == 2)
    assert tree(tmp_path / "parts") == tree(store.path)
    for wrong in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="i from 1 to n"):
            capture(model, prompted(30), store=store.path, shard=wrong)


def test_an_unfinished_store_says_so_and_gives_what_it_has(model: Model, tmp_path: Path) -> None:
    half = capture(model, prompted(30), sites="resid_post.*", store=tmp_path / "acts", shard=(1, 2), **SMALL)
    assert "unfinished" in str(half)
    assert (half.describe()["written"] < half.describe()["shards"]).all()
    assert set(half.verify()["state"]) == {"missing"}
    assert half["resid_post.0"][:20].shape == (20, 32)
    good = half["resid_post.0"].readable()
    assert 0 < good.sum() < len(good)
    assert torch.isfinite(half["resid_post.0"][good]).all()
    with pytest.raises(FileNotFoundError, match="has not been written yet"):
        half["resid_post.0"].torch()


def test_two_writers_of_the_same_shards_do_not_meet(model: Model, tmp_path: Path) -> None:
    """One refuses while the other goes on undisturbed; writers of other shards are let in."""
    data, path = prompted(30), tmp_path / "acts"
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if refused or not done:
            return
        with pytest.raises(StoreBusy, match="another writer is at work on shards 0 to"):
            capture(model, data, store=path, **SMALL)
        refused.append("once")
        capture(model, data, store=path, shard=(2, 2), **SMALL)

    capture(model, data, store=path, shard=(1, 2), progress=meanwhile, **SMALL)
    assert refused
    assert ActivationStore.open(path).complete
    assert len(ActivationStore.open(path).verify()) == 0


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    ready, child = in_child(lambda: hold(lock))
    assert os.read(ready, 1) == b"."
    with pytest.raises(StoreBusy), writing(lock, 3, 5, "it"):
        pass
    with writing(lock, 5, 9, "the rest"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with writing(lock, 0, 9, "all of it"):
        pass


def hold(lock: Path) -> Iterator[bytes]:
    with writing(lock, 2, 5, "mine"):
        yield b"."
        time.sleep(60)


def in_child(work: Callable[[], Iterator[bytes]]) -> tuple[int, int]:
    """Run ``work`` in a forked process; what it yields arrives in the pipe."""
    out, into = os.pipe()
    child = os.fork()
    if child:
        os.close(into)
        return out, child
    code = 1
    try:
        for said in work():
            os.write(into, said)
        code = 0
    finally:
        os._exit(code)


# Killed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in_forward(model: Model, at: int) -> None:
    plain, count = model.backbone, 0

    def backbone(ids: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        if count == at:
            die()
        return plain(ids)

    model.backbone = backbone  # type: ignore[method-assign]


def dies_in_call(name: str, at: int) -> None:
    plain, count = getattr(os, name), 0

    def call(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            if name == "pwrite":
                plain(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
            die()
        return plain(*arguments)

    setattr(os, name, call)


def test_killed_anywhere_it_goes_on_to_the_same_bytes(pair: Pair, tmp_path: Path) -> None:
    """kill -9 in a forward, in the middle of a write, before and after a rename, during manifest and rows."""
    data = prompted(16, seed=5)
    options: dict[str, Any] = {"sites": ["resid_post.2", "attn_out.1"], "positions": "generated", **SMALL}
    capture(pair, data, store=tmp_path / "undisturbed", **options)
    expected = tree(tmp_path / "undisturbed")
    deaths = [("forward", 1), ("forward", 5), ("pwrite", 5), ("pwrite", 31), ("fsync", 1), ("fsync", 4), ("replace", 2)]
    deaths += [("replace", 1), ("replace", 5), ("fsync", 8), ("ftruncate", 3)]
    for number, (where, at) in enumerate(deaths):
        path = tmp_path / f"killed {number}"

        def work(where: str = where, at: int = at, path: Path = path) -> Iterator[bytes]:
            dies_in_forward(pair.base, at) if where == "forward" else dies_in_call(where, at)
            capture(pair, data, store=path, **options)
            yield b"survived"

        out, child = in_child(work)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), (where, at, os.read(out, 99))
        os.close(out)
        assert tree(path) != expected
        capture(pair, data, store=path, **options)
        assert tree(path) == expected, (where, at)


SCRIPT = """
import sys, time
from hooks.capture import capture
from hooks.model import Model
from tests.hooks.test_capture import prompted
model = Model.load(sys.argv[1])
slow = lambda done, total: (print("going", flush=True), time.sleep(0.02))
capture(model, prompted(120), store=sys.argv[2], shard_bytes=4000, batch_tokens=64, progress=slow)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_from_outside_goes_on_to_the_same_bytes(model: Model, llama_dir: Path, tmp_path: Path) -> None:
    data = prompted(120)
    capture(model, data, store=tmp_path / "undisturbed", **SMALL)
    command = [sys.executable, "-c", SCRIPT, str(llama_dir), str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for _ in range(9):
            assert process.stdout.readline() == "going\n"
        process.kill()
        assert "done" not in process.stdout.read()
    half = ActivationStore.open(tmp_path / "killed")
    assert not half.complete
    assert half.describe()["written"].max() > 0
    capture(model, data, store=tmp_path / "killed", **SMALL)
    assert tree(tmp_path / "killed") == tree(tmp_path / "undisturbed")


# Damaged


def test_a_damaged_shard_is_named_and_the_rest_is_readable(model: Model, store: ActivationStore, pair: Pair) -> None:
    file = store.path / "model/resid_post.1/00002.safetensors"
    kept, whole = file.read_bytes(), store["resid_post.1"].torch().clone()
    start, stop = store.ledger.row_bounds[2:4]
    flipped = bytearray(kept)
    flipped[-77] ^= 0x10
    header = bytearray(kept)
    header[300] ^= 0x01
    other = (store.path / "model/resid_post.1/00003.safetensors").read_bytes()
    foreign = kept.replace(store.ledger.sides["model"].weights.encode(), b"f" * 64)
    for bytes_now, says in (
        (kept[:-1], "truncated"),
        (kept[:5], "truncated"),
        (b"", "truncated"),
        (kept + b"x", "too long"),
        (bytes(flipped), "has changed since it was written"),
        (bytes(header), "unreadable header|changed header|foreign"),
        (other.ljust(len(kept))[: len(kept)], "foreign: its|changed header|unreadable"),
        (foreign, "foreign: its weights"),
        (b"\x80\x04c" + kept[3:], "header"),
    ):
        file.write_bytes(bytes_now)
        opened = ActivationStore.open(store.path)
        view = opened["resid_post.1"]
        with pytest.raises(DamagedShard, match=says) as caught:
            view.torch()
        assert "00002.safetensors" in str(caught.value)
        assert "delete it and run the same capture again" in str(caught.value)
        assert torch.equal(view[:start], whole[:start])
        assert torch.equal(view[stop:], whole[stop:])
        assert view.readable().tolist() == [not start <= row < stop for row in range(len(view))]
        assert opened["resid_post.0"].torch().shape == whole.shape
        wrong = opened.verify()
        assert wrong["shard"].tolist() == ["model/resid_post.1/00002.safetensors"]
        assert wrong["state"].tolist() == ["damaged"]
        if "changed since" not in says:
            with pytest.raises(DamagedShard, match=r"00002\.safetensors"):
                capture(model, prompted(30), sites="resid_post.*", store=store.path)
    file.unlink()
    capture(model, prompted(30), sites="resid_post.*", store=store.path, **SMALL)
    assert file.read_bytes() == kept


def test_every_flipped_bit_of_a_shard_is_seen(tmp_path: Path) -> None:
    spec = ShardSpec(tmp_path / "x.safetensors", 5, 7, torch.float32, {"key": "k", "site": "s"})
    with ShardWriter(spec) as writer:
        writer.write(0, torch.randn(5, 7))
    good = spec.path.read_bytes()
    rng = np.random.default_rng(0)
    padding = slice(good[: spec.data_start].rfind(b"}") + 1, spec.data_start)
    for at in [*rng.integers(0, spec.data_start, 150).tolist(), *range(spec.data_start, len(good))]:
        bad = bytearray(good)
        bad[at] ^= 1 << int(rng.integers(8))
        spec.path.write_bytes(bytes(bad))
        with pytest.raises(DamagedShard):
            MappedShard(spec).check()
    assert padding.stop > padding.start


def test_checks_are_made_block_by_block_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    width = 1024
    rows = 3 * BLOCK // (4 * width) + 5
    spec = ShardSpec(tmp_path / "x.safetensors", rows, width, torch.float32, {"key": "k"})
    data = torch.randn(rows, width)
    with ShardWriter(spec) as writer:
        for start in (300, 0, 600):
            writer.write(start, data[start : start + 300])
    read: list[int] = []
    plain = shards.zlib.crc32
    monkeypatch.setattr(shards.zlib, "crc32", lambda view: (read.append(len(view)), plain(view))[1])
    opened = MappedShard(spec)
    assert read == [], "opening reads no data"
    assert torch.equal(opened.rows(0, 10), data[:10])
    assert read == [BLOCK]
    assert torch.equal(opened.rows(5, 12), data[5:12])
    assert read == [BLOCK]
    assert torch.equal(opened.rows(250, 260), data[250:260])
    assert len(read) == 2
    assert torch.equal(opened.rows(0, rows), data)
    assert sum(read) == spec.data_bytes


def test_a_shard_takes_only_its_own_rows(tmp_path: Path) -> None:
    spec = ShardSpec(tmp_path / "x.safetensors", 4, 3, torch.float32, {})
    with pytest.raises(ValueError, match="a row, not"), ShardWriter(spec) as writer:
        writer.write(0, torch.zeros(2, 5))
    with pytest.raises(ValueError, match="outside"), ShardWriter(spec) as writer:
        writer.write(3, torch.zeros(2, 3))
    assert list(tmp_path.iterdir()) == [], "what failed leaves nothing"
    with pytest.raises(FileNotFoundError, match="not been written"):
        MappedShard(spec)


# Full


def test_a_full_disk_ends_with_one_sentence_and_can_be_gone_on_with(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = prompted(16), {"sites": "resid_post.0", **SMALL}
    capture(model, data, store=tmp_path / "undisturbed", **options)
    expected = tree(tmp_path / "undisturbed")
    for name, at in (("pwrite", 1), ("pwrite", 9), ("fsync", 3), ("fsync", 7), ("ftruncate", 2), ("replace", 1)):
        path = tmp_path / f"{name} {at}"
        plain, count = getattr(os, name), [0]

        def full(*arguments: Any, plain: Any = plain, count: list[int] = count, at: int = at) -> Any:
            count[0] += 1
            if count[0] == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return plain(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(DiskFull, match="no room left on the disk while writing") as caught:
                capture(model, data, store=path, **options)
        assert "run the same command again" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not list(path.rglob("*.partial")), "a full disk is not kept full"
        capture(model, data, store=path, **options)
        assert tree(path) == expected


def test_a_limit_of_the_operating_system_is_a_full_disk(model: Model, tmp_path: Path) -> None:
    """The same without a stand-in: files of this process may not grow beyond a size."""

    def work() -> Iterator[bytes]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            capture(model, prompted(200), store=tmp_path / "acts", positions="all", batch_tokens=512)
        except DiskFull as error:
            yield str(error).encode()

    out, child = in_child(work)
    said = os.read(out, 4096).decode()
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 0
    os.close(out)
    assert "no room left on the disk" in said
    capture(model, prompted(200), store=tmp_path / "acts", positions="all", batch_tokens=512)
    assert len(ActivationStore.open(tmp_path / "acts").verify()) == 0


def test_other_errors_of_the_disk_are_not_called_full(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), shards.room_needed("it"):
        raise PermissionError(errno.EACCES, "no")


# Plans


def test_shards_end_at_their_limits_and_cover_the_data() -> None:
    rng = np.random.default_rng(0)
    for rows_of in (lambda n: n, lambda n: np.ones_like(n), lambda n: rng.integers(0, 2, size=len(n))):
        lengths = rng.integers(1, 50, size=300)
        own = rows_of(lengths)
        offsets = np.concatenate([[0], np.cumsum(own)])
        bounds = shard_bounds(lengths, offsets, 100, shard_bytes=5000, shard_tokens=700)
        assert bounds[0] == 0
        assert bounds[-1] == 300
        assert bounds == sorted(set(bounds))
        for start, stop in pairwise(bounds):
            rows, tokens = own[start:stop], lengths[start:stop]
            assert rows.sum() > 0
            if stop < 300:
                assert rows.sum() * 100 >= 5000 or tokens.sum() >= 700
                assert rows[:-1].sum() * 100 < 5000
    assert shard_bounds(np.array([], dtype=int), np.array([0]), 4) == [0]
    assert shard_bounds(np.array([3, 4]), np.array([0, 0, 0]), 4) == [0]
    assert shard_bounds(np.array([9, 9]), np.array([0, 9, 9]), 4, shard_bytes=36) == [0, 2]


def test_few_rows_of_many_tokens_still_end_a_shard(model: Model, tmp_path: Path) -> None:
    store = capture(model, prompted(40), positions="last_prompt", store=tmp_path / "acts", shard_tokens=100)
    assert store.ledger.n_shards > 3
    ledger = Ledger.read(store.path)
    assert ledger.sequence_bounds == ledger.row_bounds, "one row a sequence"
    assert torch.equal(store["resid_post.1"][:].isfinite().all(), torch.tensor(True))


def test_the_positions_of_a_store_can_be_read_back(model: Model, tmp_path: Path) -> None:
    store = capture(model, prompted(4), positions=Positions.first(3), store=tmp_path / "acts")
    assert Positions.parse(store.manifest["positions"]) == Positions.first(3)


@pytest.mark.slow
def test_opening_one_site_of_a_large_store_reads_next_to_nothing(tmp_path: Path) -> None:
    """Page faults counted by the kernel, in a fresh process, on a store of a gigabyte in holes."""
    rows, width = 1 << 18, 1024
    spec = ShardSpec(tmp_path / "x.safetensors", rows, width, torch.float32, {})
    with ShardWriter(spec) as writer:
        writer.write(0, torch.ones(10, width))
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert float(MappedShard(spec).rows(0, 10).sum()) == 10 * width
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert (after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt) * 4096 < 0.01 * spec.data_bytes
