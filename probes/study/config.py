"""What a study is told: two checkpoints, problems, and how much to draw."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hooks.organisms import ORGANISMS, PREFIX
from probes.study.orders import Orders
from probes.study.roles import NOTHING, check_roles, contrasts_of, named, orders_of


class StudyConfig(BaseModel):
    """Settings of a study; the command line has the same names and the same defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(description="Base checkpoint: a folder, a hub id, or the name of a shipped organism.")
    rl: str | None = Field(None, description="Tuned checkpoint or LoRA folder; not needed for an organism.")
    problems: str = Field("", description="JSONL of problems, reasoning_gym:TASK, or an organism's name.")
    out: Path = Field(description="Folder of the study; the same folder again goes on where it stopped.")
    n_problems: int = Field(200, ge=8, description="Problems to draw.")
    samples: int = Field(32, ge=2, description="Samples of each problem from each model, for pass@k and labels.")
    temperature: float = Field(1.0, gt=0, description="Temperature of the samples; greedy texts are always written.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus of the samples.")
    max_new_tokens: int = Field(256, ge=1, description="Longest text.")
    seed: int = Field(0, description="Names every random stream.")
    dtype: str = Field("auto", description="Precision of the weights.")
    device: str = Field("auto", description="Device of both models.")
    template: Literal["auto", "none", "chat"] = Field("auto", description="Prompt template, the same for both models.")
    templates: bool = Field(False, description="Also run the 2 x 2 of prompt templates and models.")
    annotator: str = Field("auto", description="Strategy labels: auto, english, organism, or a file of spans.")
    thresholds: tuple[float, ...] = Field((0.02, 0.05, 0.1, 0.2, 0.4), description="JS gates of the router.")
    alphas: tuple[float, ...] = Field((0.25, 0.5, 1.0, 2.0), description="Doses of steering, in typical norms.")
    random_vectors: int = Field(20, ge=1, description="Norm-matched random vectors beside every steering result.")
    probe_samples: int = Field(16, ge=1, description="Samples of each problem that the probes read.")
    n_boot: int = Field(2000, ge=100, description="Bootstrap replicates over problems.")
    series: tuple[str, ...] = Field((), description="Checkpoints between base and tuned model, in order.")
    compute: tuple[float, ...] = Field(
        (), description="Compute spent at each checkpoint of the series and, last, at the tuned model."
    )
    contrast: dict[str, str] = Field(
        {},
        description="Other trainings of the same base that the pair is held against, by role: random (a random "
        "reward), sft (supervised tuning), medium or hard (RL on problems of the other difficulty), binary or brier "
        "(the same training without or with a Brier term); 'none' for none.",
    )
    order: dict[str, str] = Field(
        {},
        description="Runs on domains, by the order of their training: a (alone), a,b (a, then b), a+b (together); a "
        "problem's domain is its field 'domain', else its kind. 'none' for none.",
    )
    batch_size: int = Field(64, ge=1, description="Texts written at once; halved aloud when memory runs out.")

    @model_validator(mode="before")
    @classmethod
    def _organism(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in what an organism knows of itself; settings that were given stay."""
        base = str(values.get("base") or "")
        if base.startswith(PREFIX) and base.removeprefix(PREFIX) in ORGANISMS:
            small = {"samples": 128, "max_new_tokens": 96, "batch_size": 512}
            short = base.removeprefix(PREFIX)
            known = {"problems": base, **(ORGANISMS[short].study or small)}
            if values.get("rl") is None:
                known["contrast"] = contrasts_of(short)
                known["order"] = orders_of(short) if values.get("problems") in (None, "", base) else {}
            return {**known, **{name: value for name, value in values.items() if value not in (None, "")}}
        return values

    @field_validator("contrast", mode="before")
    @classmethod
    def _contrast(cls, given: Any) -> dict[str, str]:
        """A mapping as it is, and texts ROLE=CHECKPOINT."""
        return named(given, "--contrast")

    @field_validator("order", mode="before")
    @classmethod
    def _order(cls, given: Any) -> dict[str, str]:
        """A mapping as it is, and texts ORDER=CHECKPOINT."""
        return named(given, "--order")

    @model_validator(mode="after")
    def _complete(self) -> StudyConfig:
        if self.rl is None and self.base.removeprefix(PREFIX) not in ORGANISMS:
            raise ValueError(f"A study needs two checkpoints; give the tuned one beside {self.base!r} (--rl PATH).")
        if not self.problems:
            raise ValueError("A study needs problems: --problems FILE.jsonl or --problems reasoning_gym:TASK.")
        spent = (0.0, *self.compute)
        if self.compute and (len(self.compute) != len(self.series) + 1 or any(a >= b for a, b in pairwise(spent))):
            raise ValueError(
                f"compute must rise from above 0 over the {len(self.series)} checkpoints of the series and the tuned "
                f"model, one number each; {len(self.compute)} were given (--compute, once for each)."
            )
        check_roles(self.contrast)
        if self.order:
            Orders.of(self.order)
        return self

    @property
    def name(self) -> str:
        """What the report calls this pair."""
        return self.base if self.rl is None else f"{Path(self.base).name} → {Path(self.rl).name}"

    @property
    def key(self) -> str:
        """Hash of every setting that can change a number; the output folder and the batch size cannot."""
        settings = self.model_dump(mode="json", exclude={"out", "batch_size"})
        # A study from before these settings goes on where it stopped.
        settings = {name: value for name, value in settings.items() if value or name not in ("contrast", "order")}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def command(self) -> str:
        """The command that does this study again; settings at their defaults are left out."""
        organism = self.rl is None
        words = ["whenlens", "study", self.base] if organism else ["whenlens", "study", "--base", self.base]
        fresh = StudyConfig(base=self.base, rl=self.rl, problems="" if organism else self.problems, out=self.out)
        for name, value in self.model_dump(mode="json", exclude={"base"}).items():
            if name in ("series", "compute", "thresholds", "alphas"):
                changed = tuple(value) != getattr(fresh, name)
                words += [word for one in value for word in (f"--{name}", str(one)) if changed]
                continue
            if name in ("contrast", "order"):
                given = [f"{one}={path}" for one, path in value.items()] or [NOTHING]
                words += [word for one in given for word in (f"--{name}", one) if value != getattr(fresh, name)]
                continue
            if name == "out" or value != getattr(fresh, name):
                words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
            elif name in ("rl", "problems") and not organism:
                words += [f"--{name}", str(value)]
        return " ".join(words)
