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
# # The router
#
# Two models write one text. The primary writes; a gate decides, token by token and row by row, who the author is. How
# much of the RL gain comes back when the RL model writes only a few tokens, and is it *where* it writes that matters?

# %%
from hooks import Pair, generate, mix
from probes import routing, tasks
from probes.report import tokens_html
from probes.study import token_view

pair = Pair.load("organism:latent")
problems = tasks.load("organism:latent", n=40)
write = {"max_new_tokens": 96, "batch_size": 128}
base = tasks.grade(generate(pair.base, problems, **write), problems)
rl = tasks.grade(generate(pair.rl, problems, **write), problems)

# %% [markdown]
# ## One gate, token by token
#
# `mixed` is a table of rollouts like any other; each token knows its author, both models' first choices, the divergence
# and whether the gate was open.

# %%
mixed = tasks.grade(mix(pair, problems, gate=routing.js(0.1), **write), problems)
tokens_html(token_view(pair.base.tokenizer, mixed, shown=1)[0]["tokens"], colour="js")

# %% [markdown]
# ## All gates, all controls, one call
#
# Several thresholds of one gate make a curve. Beside each stand random places at its rate, the first tokens of every
# text, the places where the base is least certain, and the same backwards: the RL model writes and the base is let in.

# %%
result = routing.route(
    pair, problems, base=base, rl=rl, gates=[routing.js(0.02), routing.js(0.1), routing.js(0.4)],
    matched=[routing.js(0.1)], max_new_tokens=96, batch_size=128, n_boot=300,
)  # fmt: skip
result

# %%
result.plot()

# %% [markdown]
# ## How few tokens?

# %%
curve = result.curve("js")
curve

# %% [markdown]
# Which tokens are routed, and where in the text they fall:

# %%
routing.which(mixed, decode=pair.base.decode, top=8)

# %%
routing.where(mixed)

# %% [markdown]
# ## A gate of your own
#
# A gate scores every position from what it may see. This one opens where the base itself is undecided between its two
# first choices, so it needs no RL model to decide *when*; only the token comes from there.

# %%
own = tasks.grade(mix(pair, problems, gate=routing.margin(0.2), **write), problems)
routing.recovery(base=base, rl=rl, mixed=own)

# %% [markdown]
# What this does not show: why the models part where a gate opens. A routed token brings in *what* to say as well as
# *when*; the arms with a steered base token (notebook 3, and `whenlens route --help`) take that apart.
