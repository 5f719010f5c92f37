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
# # Probe sweeps
#
# Is something readable in the base model, before RL? A sweep fits every layer, label, fold and strength in one call, at
# scikit-learn's own optimum, and puts beside every score the controls that decide whether it means anything.

# %%
import numpy as np
import pandas as pd

from hooks import Pair, capture, generate
from hooks.twin import random_twin
from probes import latent, tasks

pair = Pair.load("organism:latent")
problems = tasks.load("organism:latent", n=60)
write = {"max_new_tokens": 96, "batch_size": 128}
own = tasks.grade(generate(pair.base, problems, n=8, temperature=1.0, seed=0, **write), problems)

# %% [markdown]
# ## Labels of your own
#
# A label is a column with one value a row of the activations: 1, 0, or missing where it does not apply. Here: at the
# last token of the prompt, will this sample be right?

# %%
acts = capture(pair.base, own, sites="resid_post.*", positions="last_prompt")
labels = pd.DataFrame({"will be right": own.frame["correct"].astype(float)})
will = latent.sweep(acts, labels, tokens=own, n_boot=200)
will.selected[["label", "auroc", "low", "high"]]

# %% [markdown]
# A prompt has one activation and eight samples, so this label can only say how hard the *problem* is. Rows of one
# problem never stand on both sides of a fold, and intervals resample problems, not rows.

# %% [markdown]
# ## Labels that come with the package
#
# `annotate` labels spans with strategies (rules for English and for the organisms, or a file of yours); a decision is
# read at the token before its span.

# %%
decisions = latent.decision_rows(own, latent.annotate(own, tokenizer=pair.base.tokenizer))
labels = latent.decision_labels(decisions)
mask = latent.decision_mask(own, decisions)
acts = capture(pair.base, own, sites="resid_post.*", positions=mask)
twin = capture(random_twin(pair.base, seed=0), own, sites="resid_post.*", positions=mask)
sweep = latent.sweep(acts, labels, tokens=own, twin=twin, n_boot=200)
sweep.plot()

# %% [markdown]
# ## Reading it
#
# - The layer that is reported was chosen inside the folds (`selected`); the best cell of the map is an upper bound.
# - `shuffled` is the same probe on shuffled labels, `selectivity` the lead over a control task of equal difficulty.
# - A label that position, length or the last tokens predict as well is not news from inside the model.
# - A probe on a model with random weights reads what the architecture alone passes on from the tokens.

# %%
wanted = ("label", "auroc", "low", "high", "shuffled", "selectivity", "over", "twin")
sweep.selected[[name for name in sweep.selected if name.split("_")[0] in wanted]]

# %% [markdown]
# ## A silent null
#
# Labels that mean nothing, one value a problem, must not be found.

# %%
rng = np.random.default_rng(0)
names = decisions["problem"].unique()
coin = pd.Series(rng.integers(0, 2, len(names)).astype(float), index=names)
nothing = pd.DataFrame({"a coin for each problem": coin[decisions["problem"]].to_numpy()})
latent.sweep(acts, nothing, tokens=own, n_boot=200).selected[["label", "auroc", "low", "high"]]

# %% [markdown]
# ## Other probes
#
# Ridge and mass-mean probes are as fast; any scikit-learn classifier runs in the same sweep; `sparse=(1, 4)` asks how
# many coordinates are enough.

# %%
from sklearn.tree import DecisionTreeClassifier

rows = {}
label = labels[["computation (inner)"]]
for name, probe in {
    "logistic": "logistic",
    "ridge": "ridge",
    "mass mean": "mass_mean",
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
}.items():
    found = latent.sweep(acts, label, probe=probe, sites=["resid_post.2"], controls=False, n_boot=100)
    rows[name] = found.selected.iloc[0][["auroc", "low", "high"]]
pd.DataFrame(rows).T

# %% [markdown]
# ## Was it there before RL?
#
# The RL model reads the same tokens. Probes move from one model to the other, and the difference is paired.

# %%
both = capture(pair, own, sites=["resid_post.2"], positions=mask)
latent.transfer(both["base"], both["rl"], labels[["computation (inner)"]], n_boot=200)

# %% [markdown]
# What none of this shows: that the model uses what a probe reads. Notebook 3 asks that.
