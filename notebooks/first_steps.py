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
# Give the program a post (text and image). It returns every named entity with its type and its bounding box, or marks
# it as not shown.
#
# This notebook uses the small model of the package. It only knows the *world*, a synthetic data set of fictional
# people, places, organisations and things. Its answers on photographs are wrong; load a real vision-language model
# for those.

# %%
import os

os.environ.setdefault("DSPY_CACHEDIR", ".dspy_cache")

import gmner

world = gmner.World()
post = world.posts("test", 1)[0]
program = gmner.GMNER(lm=gmner.load_vlm())
program(text=post.text, image=post.image)

# %% [markdown]
# Models trained on captions tend to draw a box for every name in the text, whether the image shows it or not. The
# evaluation shows how often this model does so.

# %%
held_out = world.posts("test", 24)
answers = program.batch_posts(held_out, progress=False)
gmner.evaluate(answers, held_out)

# %% [markdown]
# Posts and answers are displayed as HTML, one or a list of them, with the gold annotation next to the answer and its
# errors. Point at a name, a box or a line to highlight everything that belongs to it.

# %%
answers[6:9]

# %% [markdown]
# `compile` returns a new program and leaves the original unchanged. This compile is too small to be useful; it only
# shows the call. `gmner quickstart` runs one of a useful size.

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
