"""The data set card of a reasoning set, in the format of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping

from gmner.optimizers.chains.reasoning_origin import ChainCounts, Origin

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
_MOST_PROBLEMS = 20

_CARD = """\
---
pretty_name: Reasoning chains for grounded multimodal named entity recognition
license: other
task_categories:
- image-text-to-text
- token-classification
tags:
- gmner
- named-entity-recognition
- visual-grounding
- chain-of-thought
- synthetic
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/chains.parquet
---

# Reasoning chains for grounded multimodal named entity recognition

This data set has {chains} chains about posts with a text and an image. A chain is the reasoning that a model learns to
write before its answer: which words of the post are names, the type of each, and whether and where the image shows it.
The data set is D_R of MCR (Ma et al., "Beyond Unimodal Shortcuts: MLLMs as Cross-Modal Reasoners for Grounded Named
Entity Recognition", Findings of ACL 2026), written by `gmner`.

## How it was made

The gold annotation of each post was written as a chain in {per_post} of these styles: {styles} (seed {seed}).
{teacher} D1 ({d1} posts) is for supervised fine-tuning and D2 ({d2} posts) for reinforcement learning. No post is in
both.

Entity types: {labels}.

**Boxes.** In `reasoning`, boxes are {frame}. They are only valid for models that write boxes in this way. In `answer`,
boxes are `[x1, y1, x2, y2]` in pixels of the original image.

## Counts

{tables}

## Files

`data/chains.parquet` is a table with one row per chain:

| column | |
|---|---|
| `post_id` | the identifier of the post in its data set |
| `split` | `d1` or `d2` |
| `style` | the style of the chain |
| `author` | `template`, `llm` (a model that read the text) or `mllm` (a model that also saw the image) |
| `problem` | why the chain replaces the one that the style wrote; empty if it replaces none |
| `reasoning` | the chain |
| `answer` | a JSON list of `{{"span", "start", "end", "type", "box"}}`; see below |
{text}
`chains.jsonl` and `split.json` have the same content for `gmner`, without loss and with a digest of every post. Images
are not included.

In `answer`, `start` and `end` are character offsets. `picture` is the number of the image of a box that is not in the
first one, and `more_boxes` are the further boxes of a referring expression.

## Licence

The chains and answers are derived from posts and their annotation, so they have the licence of the posts. Check the
licence of the data set that the identifiers belong to before you share this folder.

## Limits

- A chain is only as correct as the gold annotation. It explains an annotation error as if it were correct.
- A chain describes only the annotated part of an image. "Not shown" means that the annotation has no box.
- {model}
- Posts name real people, and chains say whether an image shows them, because the annotation does.
"""


def render_dataset_card(origin: Origin, counts: ChainCounts) -> str:
    """The card of a reasoning set as Markdown with a YAML head.

    Args:
        origin: What the set was made for.
        counts: Its counts. If they have strata, the table has the posts' texts.
    """
    models = sum(count for author, count in counts.authors.items() if author != "template")
    text = "| `text` | the text of the post |\n" if counts.strata is not None else ""
    return _CARD.format(
        size=next((name for bound, name in _SIZES.items() if counts.chains < bound), "1M<n<10M"),
        chains=f"{counts.chains:,}",
        d1=f"{counts.posts[0]:,}",
        d2=f"{counts.posts[1]:,}",
        per_post=origin.per_post,
        styles=_listed(origin.styles),
        seed=origin.seed,
        labels=_listed(origin.labels),
        frame=f"{origin.box_format.describe()} ({origin.box_format.frame})",
        teacher=_teacher(origin, counts, models),
        tables=_tables(counts),
        text=text,
        model=_caution(models),
    )


def _teacher(origin: Origin, counts: ChainCounts, models: int) -> str:
    if origin.teacher is None:
        return "All chains were written by templates, none by a model."
    wrote = f"`{_cell(origin.teacher)}` wrote {models:,} of the chains, each checked against the gold annotation;"
    return f"{wrote} {counts.fallbacks:,} chains failed the check and were replaced."


def _caution(models: int) -> str:
    if models == 0:
        return "Templates wrote the chains, so their wording varies less than that of people."
    return "Chains of a model were checked for names, types and boxes, but not for anything else that they say."


def _tables(counts: ChainCounts) -> str:
    problems = dict(list(counts.problems.items())[:_MOST_PROBLEMS])
    kinds = {
        "task": counts.tasks, "style": counts.styles, "author": counts.authors, "stratum": counts.strata,
        "problem": problems,
    }  # fmt: skip
    return "\n\n".join(_table(name, rows) for name, rows in kinds.items() if rows)


def _table(name: str, rows: Mapping[str, int]) -> str:
    lines = [f"| {_cell(row)} | {count:,} |" for row, count in rows.items()]
    return "\n".join([f"| {name} | chains |", "|---|---:|", *lines])


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{_cell(name)}`" for name in names)


def _cell(text: str) -> str:
    """The string without characters that would end a table cell or a code span."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
