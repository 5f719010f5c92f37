"""Both models read the decisions of a text: the tables of a study, on a random pair where nothing can be known."""

from pathlib import Path

import pandas as pd
import pytest

from hooks.capture import capture
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.latent.choices import decision_labels, decision_mask
from probes.stats import stream
from probes.study.beforehand import read_both, write_tables
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials
from probes.study.readable import _table, agreed

PROMPT, LENGTH = 4, 24


def texts(n: int = 40, samples: int = 4) -> Rollouts:
    rng = stream(0, "texts")
    return Rollouts.of(
        {
            "problem": f"p{i}", "sample": sample, "model": "base", "prompt": "p",
            "prompt_ids": rng.integers(3, 60, PROMPT).tolist(), "ids": rng.integers(3, 60, LENGTH).tolist(),
            "text": "t", "logp": [0.0] * LENGTH, "stop": "length", "author": ["base"] * LENGTH,
        }
        for i in range(n)
        for sample in range(samples)
    )  # fmt: skip


def decided(rollouts: Rollouts) -> pd.DataFrame:
    """A first decision in every text and one inside it, both at random."""
    rng = stream(1, "decisions")
    rows = []
    for row, (problem, sample) in enumerate(zip(rollouts.frame["problem"], rollouts.frame["sample"], strict=True)):
        for index, place in ((0, "start"), (20, "inner")):
            strategy = ("planning", "computation")[int(rng.integers(2))]
            position = PROMPT - 1 + index
            rows.append((problem, sample, "base", position, index, strategy, place, row))
    columns = ["problem", "sample", "model", "position", "index", "strategy", "place", "row"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def materials(llama_pair_dirs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Materials:
    base, rl = llama_pair_dirs
    out = tmp_path_factory.mktemp("beforehand")
    config = StudyConfig(base=str(base), rl=str(rl), problems="x.jsonl", out=out, n_boot=100)
    made = Materials(config, StudyFolder(out), lambda title: lambda done, total: None)
    made.__dict__["pair"] = Pair.load(str(base), str(rl))
    return made


@pytest.fixture(scope="module")
def read(materials: Materials) -> dict[str, pd.DataFrame]:
    rollouts = texts()
    found = decided(rollouts)
    acts = capture(materials.pair, rollouts, positions=decision_mask(rollouts, found))
    twin = capture(materials.pair.base, rollouts, positions=decision_mask(rollouts, found))
    chosen = {"planning (start)": "resid_post.0"}
    return read_both(
        materials, "base text", rollouts, found, decision_labels(found), acts, twin=twin, chosen=chosen
    )  # fmt: skip


def test_every_table_names_its_text_and_the_layer_that_is_quoted(read: dict[str, pd.DataFrame]) -> None:
    assert set(read) == {"models", "transfer", "alignment", "cosines", "subspaces", "ahead"}
    assert all((frame["text"] == "base text").all() for frame in read.values())
    quoted = read["models"][read["models"]["reported"]].set_index("label")["site"]
    assert quoted["planning (start)"] == "resid_post.0"
    # No layer was chosen for the others: three quarters of three layers is layer 2.
    assert quoted["planning (inner)"] == "resid_post.2"
    assert len(quoted) == 4


def test_a_twin_that_is_the_base_itself_gives_no_lead(read: dict[str, pd.DataFrame]) -> None:
    assert (read["models"]["over_twin"] == 0).all()


def test_random_labels_are_silent(read: dict[str, pd.DataFrame]) -> None:
    assert (read["models"]["rl_minus_base_q"] > 0.05).all()
    assert (read["ahead"]["q"].dropna() > 0.05).all()


def test_first_decisions_are_read_in_the_prompt_and_others_in_the_completion(read: dict[str, pd.DataFrame]) -> None:
    ahead = read["ahead"].set_index(["label", "k"])
    assert ahead.loc[("planning (start)", PROMPT - 1), "rows"] == 160
    assert ahead.loc[("planning (start)", PROMPT), "rows"] == 0
    # The inner decision stands behind twenty generated tokens.
    assert ahead.loc[("planning (inner)", 16), "rows"] == 160
    assert ahead.loc[("planning (inner)", 16), "within"] == "completion"


def test_tables_are_written_and_read_again(materials: Materials, read: dict[str, pd.DataFrame]) -> None:
    other = {name: frame.assign(text="RL text") for name, frame in read.items()}
    write_tables(materials, [read, other])
    again = materials.folder.read("before_models")
    assert again["text"].tolist() == ["base text"] * len(read["models"]) + ["RL text"] * len(read["models"])
    assert len(materials.folder.read("before_subspaces")["angles"].iloc[0]) >= 1


def test_the_sweeps_table_is_the_sweeps_alone(read: dict[str, pd.DataFrame]) -> None:
    sweep = read["models"][["site", "label", "rows", "positive"]].assign(auroc=read["models"]["base_auroc"])
    table = _table(sweep, {"planning (start)": "resid_post.1"})
    assert len(table) == len(sweep)
    # A difference from another table's probe would not be that of the AUROC beside it.
    assert not [name for name in table if name.startswith("rl_")]
    assert table.loc[table["reported"], ["site", "label"]].to_numpy().tolist() == [["resid_post.1", "planning (start)"]]


def test_a_layer_is_quoted_only_where_most_folds_chose_it() -> None:
    sites = ["resid_post.11 x1, resid_post.18 x1, resid_post.2 x1, resid_post.22 x1, resid_post.9 x1",
             "resid_post.3 x2, resid_post.4 x2, resid_post.5 x1", "resid_post.3 x3, resid_post.4 x2"]  # fmt: skip
    chosen = agreed(pd.DataFrame({"label": ["alone", "tied", "most"], "sites": sites}))
    assert chosen == {"most": "resid_post.3"}


def test_labels_need_enough_decisions_on_both_sides() -> None:
    few = decided(texts(20, 4))
    assert set(decision_labels(few)) == {f"{s} ({p})" for s in ("planning", "computation") for p in ("start", "inner")}
    assert decision_labels(decided(texts(10, 4))).empty
