# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First steps
#
# A post goes in, text and picture; every named entity comes out with its type and its box, or with "not shown".
# The model here is the small one that comes with the package. It knows only the *world*: fictional people, places,
# organisations and things. On photographs its answers are wrong; load a real vision-language model for those.

# %%
import os

os.environ.setdefault("DSPY_CACHEDIR", ".dspy_cache")

import gmner

world = gmner.World()
post = world.posts("test", 1)[0]
program = gmner.GMNER(lm=gmner.load_vlm())
program(text=post.text, image=post.image)

# %% [markdown]
# A model that was trained on captions takes shortcuts: what the text names it boxes, shown or not. Here is how often.

# %%
held_out = world.posts("test", 24)
answers = program.batch_posts(held_out, progress=False)
gmner.evaluate(answers, held_out)

# %% [markdown]
# Posts and answers show themselves, one or a list of them: the gold annotation, and beside it the answer with what is
# wrong about it. Point at a name, a box or a line: what belongs to it is lit.

# %%
answers[6:9]

# %% [markdown]
# `compile` returns a new program; the old one stays as it was. This compile is a small one, to show the form:
# `gmner quickstart` runs one of a useful size.

# %%
optimizer = gmner.MCR(
    mrsi=gmner.MRSI(max_steps=8, batch=8),
    cvo=gmner.CVO(max_steps=2, prompts=2, generations=4, max_completion_length=200),
    progress=False,
)
better = program.compile(trainset=world.posts("train", 32), valset=held_out[:8], optimizer=optimizer)
better.history.chosen, {stage: round(score.gmner.f1, 1) for stage, score in better.history.scores.items()}

# %%
better(text=post.text, image=post.image)
