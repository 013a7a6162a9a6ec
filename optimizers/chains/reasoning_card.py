"""The data set card of a reasoning set, in the form of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping

from gmner.optimizers.chains.reasoning_origin import ChainCounts, Origin

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
_MOST = 20

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

{chains} chains over posts with a text and a picture. A chain is what a model learns to write before its answer: which
words of a post are names, of what type each is, whether the picture shows it, and where. This is D_R of MCR (Ma et al.,
"Beyond Unimodal Shortcuts: MLLMs as Cross-Modal Reasoners for Grounded Named Entity Recognition", Findings of ACL 2026)
as `gmner` makes it.

## How it was made

The gold annotation of each post was written out as a chain in {per_post} of these styles: {styles} (seed {seed}).
{teacher} D1 ({d1} posts) is for supervised fine-tuning, D2 ({d2} posts) for reinforcement learning; no post is in both.

Entity types: {labels}.

**Boxes.** In `reasoning`, boxes are {frame}. They are right for models that write boxes this way, and for no others.
In `answer`, boxes are `[x1, y1, x2, y2]` in pixels of the original picture.

## Counts

{tables}

## Files

`data/chains.parquet` is the table, one row a chain:

| column | |
|---|---|
| `post_id` | the post's identifier in its own data set |
| `split` | `d1` or `d2` |
| `style` | the style of the chain |
| `author` | `template`, `llm` (a model that read the text) or `mllm` (one that also saw the picture) |
| `problem` | why another chain stands in the place of the one that was wanted; empty: nothing was wrong |
| `reasoning` | the chain |
| `answer` | a JSON list of `{{"span", "start", "end", "type", "box"}}`; `start` and `end` are character offsets |
{text}
`chains.jsonl` and `split.json` hold the same without loss, for `gmner`, with the digest of every post. Pictures are not
part of this folder.

## Licence

The chains and answers are made from posts and their annotation, and name what those name: their licence is that of the
posts. See the data set that the identifiers belong to before you pass this folder on.

## Limits

- A chain is as right as the gold: a mistake of an annotator is explained as if it were true.
- What a chain says of the picture is what is annotated. A picture shows more than that; "not shown" means that the
  annotation has no box.
- {model}
- Posts name real people. A chain says of each whether a picture shows them, because the annotation does.
"""


def render_dataset_card(origin: Origin, counts: ChainCounts) -> str:
    """The card of a reasoning set as Markdown with a YAML head.

    Args:
        origin: What the set was made for.
        counts: Its counts; with strata, the posts' texts are taken to be in the table.
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
        return "All wording is by templates; no model wrote any of it."
    wrote = f"`{_cell(origin.teacher)}` wrote {models:,} of the chains, each checked against the gold;"
    return f"{wrote} chains that stand in for one that was wrong: {counts.fallbacks:,}."


def _caution(models: int) -> str:
    if models == 0:
        return "The wording is that of templates: less varied than what people write."
    return "What a model wrote was checked for names, types and boxes; anything else that it says was not."


def _tables(counts: ChainCounts) -> str:
    problems = dict(list(counts.problems.items())[:_MOST])
    kinds = {"style": counts.styles, "author": counts.authors, "stratum": counts.strata, "problem": problems}
    return "\n\n".join(_table(name, rows) for name, rows in kinds.items() if rows)


def _table(name: str, rows: Mapping[str, int]) -> str:
    lines = [f"| {_cell(row)} | {count:,} |" for row, count in rows.items()]
    return "\n".join([f"| {name} | chains |", "|---|---:|", *lines])


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{_cell(name)}`" for name in names)


def _cell(text: str) -> str:
    """A string that ends neither a table's cell nor a code span."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
