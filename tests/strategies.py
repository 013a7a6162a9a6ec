"""Hypothesis strategies: boxes, posts with gold entities, and predictions for them."""

from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from gmner.data.post import Post, SceneObject
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity

SIZE = (64, 48)
TYPES = ("PER", "LOC", "ORG", "OTHER")
# Difficult words: emoji, right-to-left text, combining characters, markup, an HTML entity.
WORDS = ("Ada", "Ada", "Al", "am", "we", "🎉", "👩‍🚀", "שלום", "é", "<b>", "&amp", "a_b", "O'Neil", ",")


@st.composite
def boxes(draw, size=SIZE):
    """A box inside an image of `size`, float pixels; it may have no area."""
    xs = sorted(draw(st.tuples(*[st.integers(0, size[0])] * 2)))
    ys = sorted(draw(st.tuples(*[st.integers(0, size[1])] * 2)))
    return Box(float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1]))


@st.composite
def posts(draw, id_="1"):
    """A post whose gold mentions do not overlap; they may be adjacent or have equal spans."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
    text = " ".join(words)
    starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    entities, at = [], 0
    while at < len(words):
        length = min(draw(st.integers(0, 2)), len(words) - at)
        if length:
            start, end = starts[at], starts[at + length - 1] + len(words[at + length - 1])
            found = tuple(draw(st.lists(boxes(), max_size=2)))
            entities.append(GoldEntity(text[start:end], start, end, draw(st.sampled_from(TYPES)), found))
        at += length or 1
    return Post(id_, text, None, tuple(entities), tuple(words))


@st.composite
def entities(draw, text):
    """Any entity of a text, correct or not."""
    start = draw(st.integers(0, len(text) - 1))
    end = draw(st.integers(start + 1, len(text)))
    kind, box = draw(st.sampled_from(TYPES)), draw(st.none() | boxes())
    return GroundedEntity(text[start:end], start, end, kind, box)


@st.composite
def answered(draw, id_="1"):
    """A post and a prediction with correct, nearly correct, repeated and invented entities."""
    post = draw(posts(id_))
    found = []
    for entity in (right for right in perfect(post).entities if draw(st.booleans())):
        kind = draw(st.sampled_from((entity.type, "OTHER")))
        box = draw(st.sampled_from((entity.box, None)) | boxes())
        found.append(replace(entity, type=kind, box=box))
    found += draw(st.lists(entities(post.text), max_size=3))
    found += draw(st.lists(st.sampled_from(found), max_size=2)) if found else []
    return post, draw(st.permutations(found))


def perfect(post):
    """The correct prediction for a post, with the last one of several gold boxes."""
    return Prediction(
        post.id,
        post.text,
        "",
        tuple(GroundedEntity(e.span, e.start, e.end, e.type, e.boxes[-1] if e.boxes else None) for e in post.gold),
    )


@st.composite
def full_posts(draw, id_="1", files=True):
    """A post with every field set or unknown; with `files`, its images are paths that do not exist."""
    post = draw(posts(id_))
    paths = st.sampled_from((Path("a.png"), Path("some where/ü.jpg"), Path("/no/such/picture.png")))
    scene = draw(st.none() | st.lists(boxes(), max_size=2))
    grounded = draw(st.booleans())
    entities = tuple(replace(entity, boxes=entity.boxes if grounded else ()) for entity in post.gold)
    return replace(
        post,
        image=draw(st.none() | paths) if files else None,
        more_images=tuple(draw(st.lists(paths, max_size=2))) if files else (),
        entities=draw(st.sampled_from((entities, None))),
        tokens=draw(st.sampled_from((post.tokens, None))),
        scene=None if scene is None else tuple(SceneObject("Ada ✓", "PER", box, ("a hat",), 0.25, 3) for box in scene),
        slice=draw(st.none() | st.just("mixed")),
        grounded=grounded,
    )
