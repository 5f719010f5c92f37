"""Settings of further checkpoints: what organisms bring, what is refused, and the command that does it again."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path
from typing import Any

import pytest

from hooks.organisms import ORGANISMS, PREFIX, resolve
from probes.commands.study import study
from probes.study.config import StudyConfig
from probes.study.further import is_tuned, samples_each
from probes.study.orders import Orders, check_domains
from probes.study.roles import ROLES, contrasts_of, orders_of
from probes.tasks import Problem

OUT = Path("runs/x")


def config(**more: Any) -> StudyConfig:
    return StudyConfig(**{"base": "start", "rl": "tuned", "problems": "p.jsonl", "out": OUT, **more})


def test_organisms_bring_their_contrasts_and_orders() -> None:
    assert StudyConfig(base="organism:latent", out=OUT).contrast == {"random": "organism:sham:rl"}
    assert StudyConfig(base="organism:calibrated", out=OUT).contrast == {"binary": "organism:calibrated:rlvr"}
    assert StudyConfig(base="organism:hard", out=OUT).contrast == {"medium": "organism:hard:medium"}
    assert set(StudyConfig(base="organism:domains", out=OUT).order) == {
        "sums", "single", "sums,single", "single,sums", "sums+single",
    }  # fmt: skip
    assert StudyConfig(base="organism:newskill", out=OUT).contrast == {}
    for name in ORGANISMS:
        for path in [*contrasts_of(name).values(), *orders_of(name).values()]:
            assert resolve(path).is_dir()


def test_a_default_gives_way_to_what_is_said() -> None:
    assert StudyConfig(base="organism:latent", out=OUT, contrast="none").contrast == {}
    assert StudyConfig(base="organism:latent", out=OUT, contrast=["sft=a"]).contrast == {"sft": "a"}
    # Problems of one domain alone leave no order to ask about.
    assert StudyConfig(base="organism:domains", out=OUT, problems="organism:domains:sums").order == {}
    assert config().contrast == config().order == {}


def test_mappings_and_words_are_the_same_setting() -> None:
    words = config(contrast=["random=x/y", "sft=hub/name=1"], order=["a=one", "b=two", "a,b=three", "a+b=four"])
    assert words.contrast == {"random": "x/y", "sft": "hub/name=1"}
    assert words == config(contrast=words.contrast, order=words.order)
    assert StudyConfig.model_validate_json(words.model_dump_json()) == words


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"contrast": ["luck=x"]}, r"no contrast 'luck'; a contrast is one of random: .*brier"),
        ({"contrast": ["sft"]}, "--contrast is NAME=CHECKPOINT, not 'sft'"),
        ({"contrast": ["sft="]}, "NAME=CHECKPOINT"),
        ({"contrast": 3}, "NAME=CHECKPOINT"),
        ({"contrast": ["sft=x", "sft=y"]}, "--contrast sft was given twice"),
        ({"contrast": {"medium": "x", "hard": "y"}}, "'medium' and 'hard' say opposite things"),
        ({"contrast": {"binary": "x", "brier": "y"}}, "opposite things"),
        ({"order": ["a=x"]}, "at least two domains"),
        ({"order": ["a=x", "b=y", "a,c=z"]}, "no run on 'c' alone; give it as --order c=CHECKPOINT"),
        ({"order": ["a=x", "b=y", "a,b+a=z"]}, "is no order of domains"),
        ({"order": ["a=x", "b=y", "a,a=z"]}, "each once"),
        ({"order": ["a=x", "b=y", "c=z", "a+b=w"]}, r"one run over all domains; give it as --order a\+b\+c=CHECKPOINT"),
        ({"order": ["a=x", "b=y", "a+b=w", "b+a=v"]}, "once"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**settings)


def test_the_key_knows_them_and_a_study_without_them_keeps_its_own() -> None:
    keys = {config(contrast=given).key for given in ({}, {"sft": "a"}, {"sft": "b"}, {"random": "a"})}
    assert len(keys) == 4
    assert config(order={"a": "x", "b": "y"}).key != config(order={"a": "y", "b": "x"}).key
    # The key of these settings before contrasts and orders were among them.
    old = {name: value for name, value in config().model_dump(mode="json").items() if name not in ("contrast", "order")}
    assert config().key == _hash({name: value for name, value in old.items() if name not in ("out", "batch_size")})


def _hash(settings: dict[str, Any]) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "settings",
    [
        {"base": "organism:latent", "rl": None, "problems": "organism:latent", "contrast": "none"},
        {"base": "organism:domains", "rl": None, "problems": "organism:domains", "order": "none", "samples": 8},
        {"base": "organism:hard", "rl": None, "problems": "organism:hard:hard"},
        {"contrast": {"sft": "a", "random": "b"}, "order": {"a": "x", "b": "y", "a,b": "z", "a+b": "w"}},
    ],
)
def test_the_command_does_it_again(settings: dict[str, Any]) -> None:
    told = config(**settings)
    words = shlex.split(told.command)[2:]
    again: dict[str, Any] = {} if words[0].startswith("--") else {"base": words.pop(0)}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        if name in ("contrast", "order"):
            again.setdefault(name, []).append(value)
        else:
            again[name] = value
    assert StudyConfig(**again).key == told.key


def test_the_command_has_the_settings() -> None:
    assert {"contrast", "order"} <= set(inspect.signature(study).parameters)


def test_stages_of_an_order_are_known_where_every_prefix_is() -> None:
    found = Orders.of(dict.fromkeys(["a", "b", "c", "a,b", "a,b,c", "c,b,a", "a+b+c"], "x"))
    assert found.domains == ("a", "b", "c")
    assert found.whole == [("a", "b", "c"), ("c", "b", "a")]
    assert found.stages(("a", "b", "c")) == ["a", "a,b", "a,b,c"]
    assert found.stages(("c", "b", "a")) == ["c,b,a"]
    assert found.joint == "a+b+c"


def test_domains_without_problems_are_refused() -> None:
    problems = [Problem(f"p{i}", "?", "1", meta={"domain": "a"} if i else {}) for i in range(5)]
    order = {"a": "x", "math": "y"}
    with pytest.raises(ValueError, match=r"'math' of --order has 1 problems .* a \(4\), math \(1\)"):
        check_domains(order, problems)
    check_domains(order, [*problems, Problem("q", "?", "1")])
    check_domains({}, [])


def test_a_further_checkpoint_is_sampled_less_and_the_tuned_one_not_again() -> None:
    assert [samples_each(config(samples=samples)) for samples in (2, 8, 32, 128)] == [2, 4, 8, 16]
    domains = StudyConfig(base="organism:domains", out=OUT)
    assert [is_tuned(domains, path) for path in domains.order.values()] == [False, False, True, False, False]
    assert is_tuned(config(rl="some/../tuned"), "tuned")
    assert all(role.islower() and said for role, said in ROLES.items())
    assert not is_tuned(config(), f"{PREFIX}latent:rl")
