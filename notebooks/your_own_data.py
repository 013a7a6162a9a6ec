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
# # Your own data, and a model of your own
#
# Two settings choose what this notebook works on. `GMNER_DATA` is a folder in the form of Twitter-GMNER (`txt/`,
# `xml/`, `images/`); without it, posts of the synthetic world are written in that form. `GMNER_MODEL` is a folder or
# hub id, such as `Qwen/Qwen2.5-VL-7B-Instruct`; without it the small model of the package answers, which knows only
# that world.

# %%
import dataclasses
import os
import tempfile

os.environ.setdefault("DSPY_CACHEDIR", ".dspy_cache")

import gmner

root = os.environ.get("GMNER_DATA")
if root is None:
    root = tempfile.mkdtemp()
    for split, count in {"train": 24, "dev": 12}.items():
        gmner.write_voc(gmner.World().posts(split, count), root, split)
train, dev = (gmner.read_twitter_gmner(root, split) for split in ("train", "dev"))
len(train), len(dev)

# %% [markdown]
# A reader says what is odd in the files, and where. Other forms are read in the same way: Twitter-FMNERG, MNER-MI,
# GREC, JSONL, tables of `datasets`.

# %%
print(dev.report())
dev[:3]

# %% [markdown]
# The labels are PER, LOC, ORG and OTHER unless you say otherwise: `GMNER(labels=gmner.LabelSet(...))`, see
# `gmner.labels_of(posts)`.

# %%
program = gmner.GMNER(lm=gmner.load_vlm(os.environ.get("GMNER_MODEL"), cache=False), confidence=True)
held_out = dev[:12]
answers = program.batch_posts(held_out, progress=False)
answers[:2]

# %% [markdown]
# One set of answers scores differently by protocol. A figure is worth something only beside the name of its own.

# %%
{name: round(gmner.evaluate(answers, held_out, protocol=name, progress=False).gmner.f1, 1) for name in gmner.PROTOCOLS}

# %% [markdown]
# `preset("qwen2.5-vl-7b")` has the paper's figures: two chains a post, two epochs of each stage, LoRA, eight answers
# to each of eight prompts. On a GPU, compile with it as it is; a dry run says before what it would take. Here it is
# cut down to one step of each stage, so that the notebook runs anywhere: what it learns in one step is nothing.

# %%
optimizer = gmner.preset("qwen2.5-vl-7b")
if "GMNER_MODEL" not in os.environ:
    small = {"max_steps": 1, "micro_batch": 2}
    optimizer.mrsi = dataclasses.replace(optimizer.mrsi, batch=2, **small)
    optimizer.cvo = dataclasses.replace(
        optimizer.cvo, prompts=1, generations=2, max_completion_length=128, rollouts="constrained", **small
    )
    optimizer.progress = False
run = tempfile.mkdtemp()
better = program.compile(trainset=train, valset=dev[:4], optimizer=optimizer, run_dir=run)
better.history.chosen, {stage: round(score.gmner.f1, 1) for stage, score in better.history.scores.items()}

# %% [markdown]
# The compiled program is a bundle: program, adapter, manifest, each file with its hash. `gmner run DIR` writes the
# page of the run.

# %%
bundle = os.path.join(run, "bundle")
better.save(bundle)
loaded = gmner.load(bundle)
post = held_out[0]
loaded(text=post.text, image=post.image)
