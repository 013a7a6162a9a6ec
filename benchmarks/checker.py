"""How often the checker of chains is wrong: on intact chains, and on chains that were broken on purpose.

A broken chain is an honest style's chain over falsified gold: a mention dropped, cut or invented, another type, what is
shown made absent and the other way round, a box moved. It is checked against the true gold. `prose` stands for what a
language model writes: sentences in other words than any template's.

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

# The checker was written with these sentences before its author's eyes ...
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
# ... and these were written afterwards, and the checker left as it was.
HELD_OUT: Words = (
    ("We find {name}: a {kind}", "First comes {name} ({kind})", "'{name}' belongs to {kind}", "{kind} entity: {name}"),
    (". The photo contains it, at {box}.", ", clearly pictured at {box}.", ", and there it is at {box}."),
    (". The photo contains no trace of it.", ", which we can't see anywhere.", ", but the image shows something else."),
    "There is nothing to extract.",
)


def prose(words: Words) -> Style:
    """A style in sentences as a language model writes them."""
    intro, seen, unseen, nothing = words

    def render(facts: Facts, rng: random.Random) -> str:
        if not facts.entities:
            return nothing
        parts = []
        for entity in facts.entities:
            verdict = rng.choice(seen).format(box=facts.region(entity)) if entity.visible else rng.choice(unseen)
            parts.append(f"{rng.choice(intro).format(name=entity.span, kind=entity.type)} {verdict}")
        return " ".join(parts)

    return render


Break = Callable[[Facts, random.Random], Facts | None]


def _changed(facts: Facts, old: GoldEntity, *new: GoldEntity) -> Facts:
    entities = [e for entity in facts.entities for e in (new if entity is old else (entity,))]
    return replace(facts, entities=tuple(entities))


def dropped(facts: Facts, rng: random.Random) -> Facts | None:
    """A mention that no other mention repeats is left out."""
    spans = [e.span for e in facts.entities]
    single = [e for e in facts.entities if sum(e.span in span for span in spans) == 1]
    return _changed(facts, rng.choice(single)) if single else None


def cut(facts: Facts, rng: random.Random) -> Facts | None:
    """A mention of several words loses its last one."""
    several = [e for e in facts.entities if " " in e.span and sum(e.span in o.span for o in facts.entities) == 1]
    if not several:
        return None
    entity = rng.choice(several)
    return _changed(facts, entity, replace(entity, span=entity.span.rsplit(" ", 1)[0]))


def invented(facts: Facts, rng: random.Random) -> Facts | None:
    """A word of the post becomes a mention."""
    named = " ".join(e.span for e in facts.entities)
    words = [w for w in facts.text.split() if len(w) > 3 and w.isalpha() and w not in named]
    if not words:
        return None
    word = rng.choice(words)
    start = facts.text.index(word)
    return replace(facts, entities=(*facts.entities, GoldEntity(word, start, start + len(word), "PER")))


def other_type(facts: Facts, rng: random.Random) -> Facts | None:
    """A mention gets another type."""
    if not facts.entities:
        return None
    entity = rng.choice(facts.entities)
    return _changed(facts, entity, replace(entity, type=rng.choice([n for n in COARSE.names if n != entity.type])))


def made_absent(facts: Facts, rng: random.Random) -> Facts | None:
    """A mention that is shown is said not to be."""
    return _changed(facts, e := rng.choice(facts.shown), replace(e, boxes=())) if facts.shown else None


def made_shown(facts: Facts, rng: random.Random) -> Facts | None:
    """A mention that is not shown gets the box of something else."""
    if not facts.absent:
        return None
    others = [o.box for o in facts.scene or ()] + [b for e in facts.shown for b in e.boxes] + [Box(1, 2, 90, 95)]
    entity = rng.choice(facts.absent)
    return _changed(facts, entity, replace(entity, boxes=(rng.choice(others),)))


def moved(facts: Facts, rng: random.Random) -> Facts | None:
    """A box is shifted by a tenth of the picture."""
    if not facts.shown or facts.frame.size is None:
        return None
    entity = rng.choice(facts.shown)
    box, step = entity.boxes[0], facts.frame.size[0] / 10
    dx = step if box.x2 + step <= facts.frame.size[0] else -step
    place = Box(max(0, box.x1 + dx), box.y1, max(0, box.x2 + dx), box.y2)
    return _changed(facts, entity, replace(entity, boxes=(place,)))


BREAKS: Mapping[str, Break] = {
    "mention dropped": dropped, "mention cut": cut, "mention invented": invented, "other type": other_type,
    "shown made absent": made_absent, "absent made shown": made_shown, "box moved": moved,
}  # fmt: skip
STYLES: Mapping[str, Style] = {**TEMPLATES, "prose": prose(KNOWN), "other prose": prose(HELD_OUT)}


def refused(style: Style, broken: Facts, truth: Facts, seed: str) -> bool | None:
    """Whether the checker refuses a style's chain over `broken` facts; None: the style does not say what was broken."""
    chain, right = (write_chain(style, facts, random.Random(seed), 10_000) for facts in (broken, truth))
    return None if broken is not truth and chain == right else bool(check_chain(chain, truth))


def facts_of(post: Post) -> Facts:
    """The facts of a post, boxes in a frame of 0..1000; without its picture the boxes' own extent is the frame."""
    corners = [value for e in post.gold for box in e.boxes for value in (box.x2, box.y2)] or [256]
    side = int(max(corners)) + 1
    return Facts.of(post, Frame(BoxFormat("normalized", SIDE), (side, side)))


def table(posts: list[Post], *, markdown: bool) -> str:
    """Shares of refused chains: templates together, and prose."""
    groups = {"templates": list(TEMPLATES), "prose": ["prose"], "other prose": ["other prose"]}
    head = ["chains", *groups, "number of posts"]
    rows = [head, ["---"] * len(head)] if markdown else [head]
    for kind, make in {"intact (false alarms)": lambda facts, rng: facts, **BREAKS}.items():
        counted = {name: [0, 0] for name in groups}
        used = 0
        for post in posts:
            truth = facts_of(post)
            broken = make(truth, random.Random(f"{kind} {post.id}"))
            if broken is None:
                continue
            used += 1
            for group, names in groups.items():
                for name in names:
                    found = refused(STYLES[name], broken, truth, post.id)
                    counted[group][0] += bool(found)
                    counted[group][1] += found is not None
        rows.append([kind, *(f"{100 * n / max(total, 1):.1f} %" for n, total in counted.values()), str(used)])
    if markdown:
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(f"{row[0]:<24}" + "".join(cell.rjust(18) for cell in row[1:]) for row in rows)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, help="annotated posts; without it 500 posts of the world")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    posts = list(World().posts("test", 500) if args.gold is None else read_dataset(args.gold, args.split))
    sys.stdout.write(table(posts, markdown=args.markdown) + "\n")


if __name__ == "__main__":
    main()
