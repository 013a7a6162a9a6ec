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
# # Compile on the world, and watch the bias go
#
# A model that was trained on captions boxes what a text names, whether the picture shows it or not. The *world* plants
# that temptation: in its `lookalike` posts something named is not shown, and another thing of its kind is. A few
# minutes of compiling on two cores take most of it away.

# %%
import base64
import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("DSPY_CACHEDIR", ".dspy_cache")

from IPython.display import SVG, IFrame

import gmner
from gmner.data.scoring.pairing import RegionRule

world = gmner.World()
train, held_out = world.posts("train", 300), world.posts("test", 48)
program = gmner.GMNER(lm=gmner.load_vlm(cache=False), confidence=True)
lookalike = next(post for post in held_out if post.slice == "lookalike")
program(text=lookalike.text, image=lookalike.image)

# %% [markdown]
# Gold says of the same post:

# %%
lookalike

# %% [markdown]
# `boxed of absent` is the share of what is not shown that is boxed all the same; N-F1 is how well "not shown" is told.

# %%
before = program.batch_posts(held_out, progress=False)
gmner.evaluate(before, held_out, progress=False)

# %% [markdown]
# MCR in one call: chains of reasoning are written from the gold annotations (MRSI) and trained on, then sampled answers
# are paid by five rewards that can be checked (CVO). `preset("tiny")` is made for this model and two cores.

# %%
optimizer = gmner.preset("tiny")
optimizer.progress = False
run = Path(tempfile.mkdtemp())
better = program.compile(trainset=train, optimizer=optimizer, run_dir=run)
after = {stage: compiled.batch_posts(held_out, progress=False) for stage, compiled in better.history.programs.items()}
scores = {stage: gmner.evaluate(answers, held_out, progress=False) for stage, answers in after.items()}
{
    stage: {
        "GMNER F1": round(score.gmner.f1, 1),
        "boxed of absent, %": round(score.boxed_of_absent, 1),
        "found of shown, %": round(score.found_of_shown, 1),
        "N-F1": round(score.bias.n_f1, 1),
    }
    for stage, score in scores.items()
}

# %% [markdown]
# By slice: `shown` must not fall while `absent` and `lookalike` rise.

# %%
{
    name: {stage: round(score.by_slice[name].gmner.f1, 1) for stage, score in scores.items()}
    for name in sorted(scores["before"].by_slice)
}

# %% [markdown]
# What CVO was paid, step by step; `gmner run DIR` writes the page of the whole run, `rollouts.html` beside the curves
# shows the sampled answers.

# %%
SVG(str(run / "cvo" / "curves.svg"))

# %% [markdown]
# The posts with the answers of every stage beside the gold. Point at a name, a box or a line: what belongs to it is
# lit in all of them. Choose what to see above: *mended*, *wrong in after CVO*, an error class, a slice, a type. Move
# the threshold: what the model is less sure of is left out, and the scores of the rest are said. Before the compile no
# threshold helps much: the model is as sure of its wrong boxes as of its right ones. (Run the notebook to see it: this
# output alone, with all the pictures, is not kept in the file.)

# %% tags=["not-kept"]
pairs = [(post, {stage: after[stage][place] for stage in after}) for place, post in enumerate(held_out)]
report = run / "report.html"
report.write_text(gmner.render_html(pairs, title="Held-out posts", scores=scores), encoding="utf-8")
IFrame(f"data:text/html;base64,{base64.b64encode(report.read_bytes()).decode()}", width="100%", height=760)

# %% [markdown]
# A box counts as right from an IoU of 0.5. What is left of GMNER F1 at a stricter one says how exact the boxes are.

# %%
stricter = {iou: replace(gmner.PROTOCOLS["paper"], region=RegionRule(iou)) for iou in (0.5, 0.6, 0.7, 0.8, 0.9)}
{
    stage: {
        iou: round(gmner.evaluate(answers, held_out, protocol=rule, progress=False).gmner.f1, 1)
        for iou, rule in stricter.items()
    }
    for stage, answers in after.items()
}

# %%
better(text=lookalike.text, image=lookalike.image)
