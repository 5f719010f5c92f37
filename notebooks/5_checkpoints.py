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
# # Checkpoints
#
# What moved between two checkpoints, what many samples of both say, and how the model got from one to the other.

# %%
from hooks import Model, Pair, generate, score
from hooks.organisms import ORGANISMS
from probes import samples, tasks, training, weights

pair = Pair.load("organism:latent")
problems = tasks.load("organism:latent", n=40)
draw = {"n": 8, "temperature": 1.0, "seed": 0, "max_new_tokens": 96, "batch_size": 160}

# %% [markdown]
# ## What moved
#
# Tensor by tensor from disk: the share unchanged by three tests, and the rank of the update beside the same update with
# its entries shuffled. "Unchanged" is a fact about bfloat16 and the step size as much as about RL.

# %%
delta = weights.compare(pair)
print(delta.reading)
delta.by("module")

# %% [markdown]
# Several runs from one base: do they move the same entries, and in the same direction?

# %%
weights.overlap("organism:latent")

# %% [markdown]
# ## What it says
#
# pass@k with paired bands, the tries at which the base catches up, and which problems only one of them solves.

# %%
base = tasks.grade(generate(pair.base, problems, **{**draw, "n": 32}), problems)
rl = tasks.grade(generate(pair.rl, problems, **{**draw, "n": 32}), problems)
passk = samples.passk(base=base, rl=rl, n_boot=300)
passk.plot()

# %%
passk.solvable

# %% [markdown]
# Did RL raise right samples or lower wrong ones? For a small shift of mass the share is the base's own accuracy, so
# read it beside that; where right samples gained nothing on wrong ones there is no share at all.

# %%
samples.suppression(samples.scored_texts(base, score(pair, base)), n_boot=300)

# %% [markdown]
# ## How it got there
#
# The organism ships nine checkpoints of its run. Each writes samples of its own and reads them.

# %%
steps = sorted(name for name in ORGANISMS["latent"].members if name.startswith("step-"))
places = [("base", 0), *((name, int(name.removeprefix("step-"))) for name in steps), ("rl", 120)]
checkpoints = []
for name, step in places:
    model = Model.load(f"organism:latent:{name}")
    texts = tasks.grade(generate(model, problems, **draw), problems)
    side = "base" if name == "base" else "rl"
    tokens = score(pair if name in ("base", "rl") else Pair.of(pair.base, model), texts).frame
    tokens = tokens.rename(columns={f"logp_{side}": "logp", f"entropy_{side}": "entropy"})
    checkpoints.append(training.Checkpoint(name, step, texts, tokens))
series = training.Series.of(checkpoints)
series.accuracy().mean(axis=0).round(2)

# %% [markdown]
# A sigmoid in compute, with a profile interval of its asymptote. If the interval reaches 1 the answer is "not
# identified", which is an answer; a power law stands beside it, judged on the later checkpoints.

# %%
fit = training.scaling(series.steps, series.accuracy(), reference="F", unit="steps", n_boot=200)
fit

# %%
fit.plot()

# %% [markdown]
# Formats along the run, and the step at which one of them has taken over:


# %%
def opening(text: str) -> str:
    """How a text of this organism begins."""
    return text.split()[0] if text.strip() else "nothing"


samples.formats({int(one.step): one.rollouts for one in checkpoints}, classifier=opening, n_boot=200)

# %% [markdown]
# What none of this shows: why training went this way. Checkpoints say when something had changed, not what changed it.
