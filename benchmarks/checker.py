"""Measures how often the chain checker rejects correct chains, and chains with deliberate errors.

A chain with an error is written by a style from falsified gold: a mention is dropped, truncated or invented, its type,
visibility or box is changed. It is checked against the true gold. `prose` imitates a language model, with sentences
that no template uses.

    python benchmarks/checker.py                                            # on posts of the world
    python benchmarks/checker.py --gold twitter-gmner/ --split dev --markdown
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gmner.data.post import Post
from gmner.data.readers.choose import read_dataset
from gmner.data.world.generate import World
from gmner.optimizers.chains.checker import check_chain
from gmner.optimizers.chains.styles import TEMPLATES, Facts, Style, write_chain
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

SIDE = 1000
Words = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str]

# The checker was developed with these sentences.
KNOWN: Words = (
    (
        "The post mentions {name}, which is a {kind} entity",
        "{name} is named here, type {kind}",
        "I read {name} as {kind}",
    ),
    ("and it can be seen at {box}.", "and the image shows it around {box}.", "; it appears in the picture at {box}."),
    (
        "but it is not visible in the photo.",
        "though it does not appear in the picture.",
        ", yet it is absent from the image.",
    ),
    "The post does not mention any named entity.",
)
# These sentences were written afterwards, without changes to the checker.
HELD_OUT: Words = (
    ("We find {name}: a {kind}", "First comes {name} ({kind})", "'{name}' belongs to {kind}", "{kind} entity: {name}"),
    (". The photo contains it, at {box}.", ", clearly pictured at {box}.", ", and there it is at {box}."),
    (". The photo contains no trace of it.", ", which we can't see anywhere.", ", but the image shows something else."),
    "There is nothing to extract.",
)


def prose(words: Words) -> Style:
    """A style with sentences like those of a language model."""
    mention_texts, shown_texts, absent_texts, empty_text = words

    def render(facts: Facts, rng: random.Random) -> str:
        if not facts.entities:
            return empty_text
        parts = []
        for entity in facts.entities:
            visible = entity.visible
            verdict = rng.choice(shown_texts).format(box=facts.region(entity)) if visible else rng.choice(absent_texts)
            parts.append(f"{rng.choice(mention_texts).format(name=entity.span, kind=entity.type)} {verdict}")
        return " ".join(parts)

    return render


Break = Callable[[Facts, random.Random], Facts | None]


def _changed(facts: Facts, old: GoldEntity, *new: GoldEntity) -> Facts:
    entities = [e for entity in facts.entities for e in (new if entity is old else (entity,))]
    return replace(facts, entities=tuple(entities))


def dropped(facts: Facts, rng: random.Random) -> Facts | None:
    """Remove a mention whose words occur in no other mention."""
    spans = [e.span for e in facts.entities]
    single = [e for e in facts.entities if sum(e.span in span for span in spans) == 1]
    return _changed(facts, rng.choice(single)) if single else None


def cut(facts: Facts, rng: random.Random) -> Facts | None:
    """Remove the last word of a mention with several words."""
    spans = [e.span for e in facts.entities]
    candidates = [e for e in facts.entities if " " in e.span and sum(e.span in span for span in spans) == 1]
    if not candidates:
        return None
    entity = rng.choice(candidates)
    return _changed(facts, entity, replace(entity, span=entity.span.rsplit(" ", 1)[0]))


def invented(facts: Facts, rng: random.Random) -> Facts | None:
    """Add a word of the post as a mention."""
    named = " ".join(e.span for e in facts.entities)
    words = [w for w in facts.text.split() if len(w) > 3 and w.isalpha() and w not in named]
    if not words:
        return None
    word = rng.choice(words)
    start = facts.text.index(word)
    return replace(facts, entities=(*facts.entities, GoldEntity(word, start, start + len(word), "PER")))


def other_type(facts: Facts, rng: random.Random) -> Facts | None:
    """Change the type of a mention."""
    if not facts.entities:
        return None
    entity = rng.choice(facts.entities)
    return _changed(facts, entity, replace(entity, type=rng.choice([n for n in COARSE.names if n != entity.type])))


def made_absent(facts: Facts, rng: random.Random) -> Facts | None:
    """Remove the boxes of a mention that is shown."""
    return _changed(facts, e := rng.choice(facts.shown), replace(e, boxes=())) if facts.shown else None


def made_shown(facts: Facts, rng: random.Random) -> Facts | None:
    """Give a mention that is not shown the box of another object."""
    if not facts.absent:
        return None
    others = [o.box for o in facts.scene or ()] + [b for e in facts.shown for b in e.boxes] + [Box(1, 2, 90, 95)]
    entity = rng.choice(facts.absent)
    return _changed(facts, entity, replace(entity, boxes=(rng.choice(others),)))


def moved(facts: Facts, rng: random.Random) -> Facts | None:
    """Move a box by a tenth of the width of the image."""
    if not facts.shown or facts.frame.size is None:
        return None
    entity = rng.choice(facts.shown)
    box, step = entity.boxes[0], facts.frame.size[0] / 10
    dx = step if box.x2 + step <= facts.frame.size[0] else -step
    moved_box = Box(max(0, box.x1 + dx), box.y1, max(0, box.x2 + dx), box.y2)
    return _changed(facts, entity, replace(entity, boxes=(moved_box,)))


BREAKS: Mapping[str, Break] = {
    "mention dropped": dropped, "mention cut": cut, "mention invented": invented, "other type": other_type,
    "shown made absent": made_absent, "absent made shown": made_shown, "box moved": moved,
}  # fmt: skip
STYLES: Mapping[str, Style] = {**TEMPLATES, "prose": prose(KNOWN), "other prose": prose(HELD_OUT)}


def refused(style: Style, broken: Facts, truth: Facts, seed: str) -> bool | None:
    """Whether the checker rejects a chain over `broken` facts; None if the style does not mention the changed fact."""
    chain, right = (write_chain(style, facts, random.Random(seed), 10_000) for facts in (broken, truth))
    return None if broken is not truth and chain == right else bool(check_chain(chain, truth))


def facts_of(post: Post) -> Facts:
    """The facts of a post in coordinates 0..1000. The size of the image is estimated from the boxes."""
    corners = [value for e in post.gold for box in e.boxes for value in (box.x2, box.y2)] or [256]
    side = int(max(corners)) + 1
    return Facts.of(post, Frame(BoxFormat("normalized", SIDE), (side, side)))


def table(posts: list[Post], *, markdown: bool) -> str:
    """Format the shares of rejected chains of the templates and of prose."""
    groups = {"templates": list(TEMPLATES), "prose": ["prose"], "other prose": ["other prose"]}
    head = ["chains", *groups, "number of posts"]
    rows = [head, ["---"] * len(head)] if markdown else [head]
    for kind, make in {"correct (false alarms)": lambda facts, rng: facts, **BREAKS}.items():
        counts = {name: [0, 0] for name in groups}
        used = 0
        for post in posts:
            truth = facts_of(post)
            broken = make(truth, random.Random(f"{kind} {post.id}"))
            if broken is None:
                continue
            used += 1
            for group, names in groups.items():
                for name in names:
                    rejected = refused(STYLES[name], broken, truth, post.id)
                    counts[group][0] += bool(rejected)
                    counts[group][1] += rejected is not None
        rows.append([kind, *(f"{100 * n / max(total, 1):.1f} %" for n, total in counts.values()), str(used)])
    if markdown:
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(f"{row[0]:<24}" + "".join(cell.rjust(18) for cell in row[1:]) for row in rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, help="annotated posts (default: 500 posts of the world)")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    posts = list(World().posts("test", 500) if args.gold is None else read_dataset(args.gold, args.split))
    sys.stdout.write(table(posts, markdown=args.markdown) + "\n")


if __name__ == "__main__":
    main()
