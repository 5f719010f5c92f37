# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own models
#
# Everything so far works on any two causal language models in Hugging Face format with one vocabulary. What needs a
# network is shown here and not run; what runs uses the shipped pair in its place.

# %%
import json
import tempfile
from pathlib import Path

import pandas as pd

from hooks import Model, Pair, Rollouts, generate
from hooks.checkup import examine
from probes import samples, tasks

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Models
#
# ```python
# pair = Pair.load("Qwen/Qwen2.5-1.5B", "Open-Reasoner-Zero/Open-Reasoner-Zero-1.5B")      # hub ids
# pair = Pair.load("checkpoints/base", "checkpoints/rl", device="cuda", dtype="bfloat16")  # folders
# pair = Pair.load("Qwen/Qwen2.5-1.5B", "my/lora-adapter")                                 # base and LoRA
# ```
#
# The pair is checked first: vocabulary token by token, special tokens, chat template, generation settings. What differs
# is listed; what cannot be compared is refused with the remedy.

# %%
pair = Pair.load("organism:latent")
pair.differences

# %% [markdown]
# Before you trust a site on an architecture of yours, let it be examined: every check compares two ways to one thing.
# On the command line this is `whenlens doctor PATH`.

# %%
pd.DataFrame(
    [
        {"check": one.name, "passed": one.passed, "error": one.error}
        for one in examine(Model.load("organism:latent:base"))
    ]
)

# %% [markdown]
# ## Problems
#
# Lines of JSON with a question and an answer, a generator of reasoning-gym, or a Hugging Face data set turned into a
# list. Answers are extracted before they are compared; several verifiers know several kinds of answers.

# %%
lines = [{"question": "What is 3 + 4?", "answer": "7"}, {"question": "What is half of 9?", "answer": "4.5"}]
(folder / "mine.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
mine = tasks.load(folder / "mine.jsonl", prompt="steps")
gym = tasks.load("reasoning_gym:chain_sum", n=3)
for problem in (*mine, *gym):
    print(repr(problem.prompt[:70]), "->", problem.answer)

# %% [markdown]
# ```python
# from datasets import load_dataset
# rows = load_dataset("openai/gsm8k", "main", split="test")
# answers = [row["answer"].split("####")[1].strip() for row in rows]
# problems = [tasks.Problem(str(at), row["question"], answers[at], "math") for at, row in enumerate(rows)]
# ```

# %%
problems = tasks.load("organism:latent", n=8)
graded = tasks.grade(generate(pair.base, problems, max_new_tokens=96), problems)
graded.frame[["prompt", "text", "answer", "correct"]]

# %% [markdown]
# ## Samples made elsewhere
#
# Samples from vLLM, an inspect-ai log or an lm-evaluation-harness sample file enter as rollouts. A JSONL of your own
# needs a problem, a text and, better, the token ids; ids, never re-tokenised text, pass between models.

# %%
made = [
    {"problem": "a", "prompt": "47+5*3-2:", "text": " answer 3.", "sample": 0},
    {"problem": "a", "prompt": "47+5*3-2:", "text": " steps 47+5=52;52*3=56;56-2=54;answer 54.", "sample": 1},
]
(folder / "samples.jsonl").write_text("\n".join(json.dumps(row) for row in made))
elsewhere = Rollouts.read(folder / "samples.jsonl")
elsewhere.frame[["problem", "sample", "text"]]

# %% [markdown]
# Counts are enough for pass@k: `id, c, n` a line.

# %%
for name, right in (("base", (1, 0, 5)), ("rl", (14, 0, 16))):
    rows = [{"id": str(at), "c": count, "n": 16} for at, count in enumerate(right)]
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
samples.passk(base=folder / "base.jsonl", rl=folder / "rl.jsonl", n_boot=100)

# %% [markdown]
# ## Larger machines
#
# ```sh
# whenlens study --base BASE --rl RL --problems gsm8k.jsonl --device cuda --dtype bfloat16 --out runs/mine
# whenlens capture BASE samples.parquet --store acts --shard 3/8       # one of eight machines
# whenlens sweep BASE --problems gsm8k.jsonl --out runs/sweep --ray auto  # a Ray cluster, the same bytes
# ```
#
# A study that is stopped goes on with the same command. It writes a folder of tables and one page; send the page.
