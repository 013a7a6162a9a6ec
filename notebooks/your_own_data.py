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
# # Your own data and your own model
#
# Two environment variables choose the data and the model:
#
# - `GMNER_DATA` is a folder in the format of Twitter-GMNER (`txt/`, `xml/`, `images/`). Without it, the notebook
#   writes posts of the synthetic world in that format.
# - `GMNER_MODEL` is a folder or a Hub id, such as `Qwen/Qwen2.5-VL-7B-Instruct`. Without it, the notebook uses the
#   small model of the package, which only knows that world.

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
# A reader reports what is unusual in the files, and where. Twitter-FMNERG, MNER-MI, GREC, JSONL and `datasets` tables
# are read in the same way.

# %%
print(dev.report())
dev[:3]

# %% [markdown]
# The default labels are PER, LOC, ORG and OTHER. Use `GMNER(labels=gmner.LabelSet(...))` for other labels;
# `gmner.labels_of(posts)` returns those of your data.

# %%
program = gmner.GMNER(lm=gmner.load_vlm(os.environ.get("GMNER_MODEL"), cache=False), confidence=True)
held_out = dev[:12]
answers = program.batch_posts(held_out, progress=False)
answers[:2]

# %% [markdown]
# The same answers score differently under different protocols. Always report a score together with its protocol.

# %%
{name: round(gmner.evaluate(answers, held_out, protocol=name, progress=False).gmner.f1, 1) for name in gmner.PROTOCOLS}

# %% [markdown]
# `preset("qwen2.5-vl-7b")` uses values of the paper: two epochs of each stage, LoRA, and eight answers to each of
# eight prompts. On a GPU, use it unchanged; a dry run estimates time and memory. Here it is
# reduced to one step per stage, so that the notebook runs on any machine. One step does not improve the model.

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
# The compiled program is saved as a bundle: program, adapter, and a manifest with the hash of each file. `gmner run
# DIR` writes a page about the run.

# %%
bundle = os.path.join(run, "bundle")
better.save(bundle)
loaded = gmner.load(bundle)
post = held_out[0]
loaded(text=post.text, image=post.image)
