"""Jobs as tasks: the same result here and on a cluster, bit for bit, also when a worker is killed in the middle."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from hooks.capture import capture
from hooks.generate import generate
from hooks.rollouts import Rollouts
from hooks.store import ActivationStore
from probes.cluster.capturing import Request, capture_shards
from probes.cluster.kept import Kept
from probes.cluster.pairs import PairName
from probes.cluster.runner import ClusterError, OnRay, on_ray
from probes.cluster.writing import Sampling, write_rollouts
from probes.latent.sweep import Sweep, sweep
from probes.tasks import Problem

SMALL: dict[str, Any] = {"C": (1e-2, 1.0), "n_boot": 100, "folds": 3}
PROMPTS = ("wait 12+7*3", "then 4", "8*9-4+2", "answer 1", "47+5*3-2:", "a b c d", "then 17-3", "2")


@dataclass(frozen=True)
class Fatal:
    """Does a function and notes every try; the first try at one item is killed (SIGKILL) when its work is half done."""

    function: Any
    folder: Path
    call: int
    victim: tuple[int, int]

    def __call__(self, item: tuple[int, Any]) -> Any:
        number, own = item
        with (self.folder / "tries").open("a") as notes:
            notes.write(f"{self.call}/{number}\n")
        marker = self.folder / "killed"
        if (self.call, number) == self.victim and not marker.exists():
            marker.touch()
            _die_while_writing()
            self.function(own)
            _die()
        return self.function(own)


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_while_writing() -> None:
    """Whoever puts a file in its place dies instead, with the temporary one still there."""
    import hooks.rollouts
    import hooks.shards

    hooks.shards.ShardWriter.__exit__ = _die  # type: ignore[method-assign]
    hooks.rollouts.os.fsync = _die


class Killing:
    """A runner that lets one task's worker die."""

    def __init__(self, runner: Any, folder: Path, victim: tuple[int, int]) -> None:
        self.runner, self.folder, self.victim, self._calls = runner, folder, victim, count()

    def __call__(self, function: Any, items: Any) -> Any:
        return self.runner(Fatal(function, self.folder, next(self._calls), self.victim), enumerate(items))

    def tries(self) -> Counter[str]:
        return Counter((self.folder / "tries").read_text().split())


NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def ray_cluster() -> Any:
    """Two nodes of one processor each, on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'whenlens[cluster]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            cluster.add_node(**NODE)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def ray_nodes(ray_cluster: Any) -> Any:
    with on_ray(ray_cluster.address) as runner:
        yield runner


@pytest.fixture(scope="module")
def toy() -> tuple[Activations, dict[str, Any]]:
    """Two sites, a label that the second shows."""
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(30), 8).astype(str)
    signal_ = rng.normal(size=len(problems))
    rows = rng.normal(size=(2, len(problems), 6))
    rows[1, :, 0] += 2 * signal_
    frame = pd.DataFrame(
        {"problem": problems, "sample": 0, "pos": np.arange(240) % 7, "index": np.arange(240) % 5, "id": 3}
    )
    tensors = {f"resid_post.{at}": torch.tensor(own, dtype=torch.float32) for at, own in enumerate(rows)}
    labels = {"read": rng.random(240) < 1 / (1 + np.exp(-2 * signal_)), "noise": rng.random(240) < 0.4}
    return Activations(tensors, frame, {"model": "toy"}), labels


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> PairName:
    base, rl = map(str, llama_pair_dirs)
    return PairName(base, rl, "float32", "cpu")


@pytest.fixture(scope="module")
def texts(pair: PairName) -> Rollouts:
    return generate(pair.load().base, PROMPTS, n=2, temperature=1.0, max_new_tokens=10)


def equal(one: Sweep, other: Sweep) -> None:
    for name in ("frame", "selected"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    assert one.scores.tobytes() == other.scores.tobytes()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def request(pair: PairName, texts: Rollouts, store: Path) -> Request:
    return Request(pair, texts, store, sites="resid_post.*", positions="generated", shard_tokens=60)


def test_a_capture_in_tasks_has_the_bytes_of_a_capture(pair: PairName, texts: Rollouts, tmp_path: Path) -> None:
    asked = request(pair, texts, tmp_path / "tasks")
    moved: list[tuple[int, int]] = []
    store = capture_shards(asked, progress=lambda done, total: moved.append((done, total)))
    capture(pair.load(), texts, positions="generated", store=tmp_path / "plain", shard_tokens=60)
    assert store.ledger.n_shards == len(moved) > 3
    assert moved[-1] == (len(moved), len(moved))
    assert contents(tmp_path / "tasks") == contents(tmp_path / "plain")
    # The same call finds everything and writes nothing.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tasks").rglob("*.safetensors")}
    capture_shards(asked)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "tasks").rglob("*.safetensors")}


def test_a_twin_is_captured_at_the_same_rows(pair: PairName, texts: Rollouts, tmp_path: Path) -> None:
    own = Request(pair, texts, tmp_path / "twin", sites="resid_post.1", positions="generated", twin_seed=3)
    twin = capture_shards(own).side("model")
    plain = capture(pair.load().base, texts, sites="resid_post.1", positions="generated")
    pd.testing.assert_frame_equal(twin.rows, plain.rows)
    assert not torch.allclose(twin["resid_post.1"][:], plain["resid_post.1"])


def problems() -> list[Problem]:
    return [Problem(f"p{at}", prompt, "3") for at, prompt in enumerate(PROMPTS[:5])]


SAMPLING = Sampling(n=2, temperature=1.0, max_new_tokens=6, seed=4)


def test_rollouts_in_parts_are_graded_and_go_on(pair: PairName, tmp_path: Path) -> None:
    made = write_rollouts(pair, problems(), out=tmp_path / "a", sampling=SAMPLING, part=2)
    whole = generate(pair.load().rl, problems(), n=2, temperature=1.0, max_new_tokens=6, seed=4)
    assert made["rl"].frame["ids"].tolist() == whole.frame["ids"].tolist()
    assert made["rl"].frame["author"][0][0] == "rl"
    assert made["base"].frame["correct"].notna().all()
    assert not (tmp_path / "a" / "parts").exists()

    def half(function: Any, items: Any) -> Any:
        for at, item in enumerate(items):
            if at == 4:
                raise KeyboardInterrupt
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        write_rollouts(pair, problems(), out=tmp_path / "b", sampling=SAMPLING, part=2, runner=half)
    first = (tmp_path / "b" / "parts" / "base-000002.parquet").stat().st_mtime_ns
    seen = []

    def watching(function: Any, items: Any) -> Any:
        for item in items:
            yield function(item)
            seen.append((tmp_path / "b" / "parts" / "base-000002.parquet").stat().st_mtime_ns)

    write_rollouts(pair, problems(), out=tmp_path / "b", sampling=SAMPLING, part=2, runner=watching)
    assert set(seen) == {first}
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_folder_of_other_rollouts_is_refused(pair: PairName, tmp_path: Path) -> None:
    write_rollouts(pair, problems()[:1], out=tmp_path, sampling=Sampling(max_new_tokens=2))
    with pytest.raises(ValueError, match="rollouts of another call \\(other max_new_tokens\\)"):
        write_rollouts(pair, problems()[:1], out=tmp_path, sampling=Sampling(max_new_tokens=3))
    with pytest.raises(ValueError, match="other problems"):
        write_rollouts(pair, problems()[1:2], out=tmp_path, sampling=Sampling(max_new_tokens=2))


def test_a_sweep_goes_on_behind_the_sites_it_had_finished(toy: Any, tmp_path: Path) -> None:
    acts, labels = toy
    plain = sweep(acts, labels, **SMALL)
    asked: list[int] = []

    def noting(function: Any, items: Any) -> Any:
        for item in items:
            asked.append(1)
            yield function(item)

    equal(sweep(acts, labels, runner=Kept(tmp_path, noting), **SMALL), plain)
    fits = len(asked)
    assert fits == len(list(tmp_path.iterdir())) > 2
    max(tmp_path.iterdir()).unlink()
    equal(sweep(acts, labels, runner=Kept(tmp_path, noting), **SMALL), plain)
    assert len(asked) == fits + 1


def test_joblib_can_be_the_runner(toy: Any) -> None:
    from joblib import Parallel, delayed

    acts, labels = toy
    threads = Parallel(n_jobs=2, backend="threading", return_as="generator")
    found = sweep(
        acts, labels, runner=lambda function, items: threads(delayed(function)(one) for one in items), **SMALL
    )
    equal(found, sweep(acts, labels, **SMALL))


def test_without_ray_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match="Ray is not installed: pip install"), on_ray():
        pass


def test_an_address_at_which_nobody_is_ends_in_one_sentence() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'whenlens[cluster]'")
    with (
        pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: .*refused"),
        on_ray("127.0.0.1:1"),
    ):
        pass


def test_a_killed_worker_costs_a_sweep_its_task_only(ray_nodes: OnRay, toy: Any, tmp_path: Path) -> None:
    acts, labels = toy
    runner = Killing(ray_nodes, tmp_path, victim=(1, 1))
    found = sweep(acts, labels, twin=acts, runner=runner, **SMALL)
    equal(found, sweep(acts, labels, twin=acts, **SMALL))
    tries = runner.tries()
    assert tries.pop("1/1") == 2
    assert set(tries.values()) == {1}
    assert len(tries) >= 3


@dataclass(frozen=True)
class Doomed:
    """Does a function, but from the second site on a task on one node never ends, and the others wait for it."""

    function: Any
    folder: Path
    node: str

    def __call__(self, item: tuple[int, Any]) -> Any:
        import ray

        number, own = item
        here = ray.get_runtime_context().get_node_id() == self.node
        if number >= 2 and here:
            (self.folder / f"lost-{number}").touch()
            time.sleep(600)
        end = time.monotonic() + 120
        while number >= 2 and not list(self.folder.glob("lost-*")) and time.monotonic() < end:
            time.sleep(0.05)
        (self.folder / f"done-{number}").touch()
        return self.function(own)


@pytest.mark.slow
def test_a_node_that_is_lost_costs_a_sweep_its_tasks_only(
    ray_cluster: Any, ray_nodes: OnRay, toy: Any, tmp_path: Path
) -> None:
    import ray

    acts, labels = toy
    several = {f"resid_post.{at}": acts[f"resid_post.{at % 2}"] * (1 + at) for at in range(8)}
    wide = Activations(several, acts.rows, {"model": "toy"})
    before = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    node = ray_cluster.add_node(**NODE)
    (name,) = {one["NodeID"] for one in ray.nodes() if one["Alive"]} - before

    def kill() -> None:
        # Not before results of this sweep are back and a task of it is at work there.
        while not list(tmp_path.glob("lost-*")):
            time.sleep(0.05)
        ray_cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = sweep(
        wide, labels, runner=lambda function, items: ray_nodes(Doomed(function, tmp_path, name), enumerate(items)),
        **SMALL,
    )  # fmt: skip
    killer.join(60)
    assert not killer.is_alive()
    end = time.monotonic() + 60
    while name in (alive := {one["NodeID"] for one in ray.nodes() if one["Alive"]}) and time.monotonic() < end:
        time.sleep(0.2)
    assert alive == before
    # What was lost there was done elsewhere, and the result is that of this machine.
    lost = {path.name.removeprefix("lost-") for path in tmp_path.glob("lost-*")}
    assert lost
    assert lost <= {path.name.removeprefix("done-") for path in tmp_path.glob("done-*")}
    equal(found, sweep(wide, labels, **SMALL))


def test_a_killed_worker_costs_a_capture_its_shard_only(
    ray_nodes: OnRay, pair: PairName, texts: Rollouts, toy: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    runner = Killing(ray_nodes, tmp_path / "notes", victim=(1, 2))
    store = capture_shards(request(pair, texts, tmp_path / "far"), runner=runner)
    capture(pair.load(), texts, positions="generated", store=tmp_path / "near", shard_tokens=60)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")
    tries = runner.tries()
    assert tries.pop("1/2") == 2
    assert set(tries.values()) == {1}
    # A store that has been read here travels by its name, and the sweep of it is the same there.
    base = store.side("base")
    labels = {"even": (base.rows["id"] % 2 == 0).to_numpy()}
    here = sweep(base, labels, **SMALL)
    equal(sweep(base, labels, runner=ray_nodes, **SMALL), here)
    equal(sweep(ActivationStore.open(tmp_path / "near", side="base"), labels, **SMALL), here)


def test_a_killed_worker_costs_rollouts_their_part_only(ray_nodes: OnRay, pair: PairName, tmp_path: Path) -> None:
    runner = Killing(ray_nodes, tmp_path, victim=(0, 3))
    write_rollouts(pair, problems(), out=tmp_path / "far", sampling=SAMPLING, part=2, runner=runner)
    write_rollouts(pair, problems(), out=tmp_path / "near", sampling=SAMPLING, part=2)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")
    tries = runner.tries()
    assert tries.pop("0/3") == 2
    assert set(tries.values()) == {1}


def test_the_commands_on_a_cluster_write_what_they_write_here(
    ray_nodes: OnRay, pair: PairName, texts: Rollouts, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from probes.cli import app

    def call(*words: Any) -> None:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, (done.output, done.exception)

    written, table = texts.save(tmp_path / "texts.parquet"), tmp_path / "labels.csv"
    where = ("--positions", "generated", "--shard-tokens", 60, "--dtype", "float32", "--device", "cpu")
    for name, extra in (("near", ()), ("far", ("--ray",))):
        call("capture", pair.base, written, "--rl", pair.rl, "--store", tmp_path / name, *where, *extra)
        rows = ActivationStore.open(tmp_path / name).rows
        pd.DataFrame({"even": rows["id"] % 2 == 0}).to_csv(table, index=False)
        out = tmp_path / f"{name} tables"
        call("sweep", tmp_path / name, "--labels", table, "--folds", 3, "--n-boot", 100, "--out", out, *extra)
    assert contents(tmp_path / "near") == contents(tmp_path / "far")
    near, far = contents(tmp_path / "near tables"), contents(tmp_path / "far tables")
    assert all(near[name] == far[name] for name in ("sweep.parquet", "selected.parquet", "manifest.json"))


def test_what_a_task_says_is_what_the_caller_hears(ray_nodes: OnRay) -> None:
    with pytest.raises(ValueError, match=r"^invalid literal for int"):
        list(ray_nodes(int, ["1", "one", "2"]))
    assert list(ray_nodes(int, (str(one) for one in range(9)))) == list(range(9))
    with pytest.raises(ClusterError, match="no node of the cluster has 1 processors and 2 GPUs"):
        list(OnRay(num_gpus=2)(int, ["1"]))


def test_a_task_that_always_dies_is_given_up(ray_nodes: OnRay) -> None:
    with pytest.raises(ClusterError, match="a task was lost although it was tried once "):
        list(OnRay(retries=0)(_die, [1]))
