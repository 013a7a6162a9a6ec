"""The questions of pre-training: dialogues about one image of the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gmner.data.post import SceneObject
from gmner.data.world.cast import Character, character, known, lookalikes
from gmner.data.world.drawing import SIDE
from gmner.data.world.generate import annotate
from gmner.data.world.text import Written, write_text
from gmner.optimizers.chains.styles import TEMPLATES, Facts, write_chain
from gmner.recipes.embedded.strangers import newcomer_called, stranger
from gmner.recipes.embedded.tokenizer import SCALE
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import SHORT_INSTRUCTIONS, system_message, user_message
from gmner.signatures.wire import Frame, dump, render_answer

FRAME = Frame(BoxFormat("normalized", SCALE), (SIDE, SIDE))
LIST_INSTRUCTION = "What is shown?"
NAME_INSTRUCTION = "Who or what is there?"
COMPARE_INSTRUCTION = "Compare post and picture."
ANSWER_INSTRUCTION = "Your answer?"

STRANGERS = 0.25
"""Share of invented names among the absent entities of dialogues about an image."""

STRANGERS_TO_EXTRACT = 0.5
"""Share of invented names among the names to extract from a text."""

RENAMED = 0.15
"""Share of the entities to find that a text calls by an invented name."""

LOOKING_FIRST = ("picture_first",)
"""Styles of the chains about an image: they list what it shows before they judge. Judging without is not trained."""

_OUTPUTS = {
    "GroundEntities": ("reasoning", "entities"),
    "ExtractMentions": ("mentions",),
    "VerifyVisibility": ("evidence", "visible"),
    "GroundMention": ("box",),
}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A system message and turns of (user, assistant). The image, if any, is part of the first user turn.

    Attributes:
        system: The system message.
        turns: Pairs of user and assistant message.
        with_image: Whether there is an image.
        copied: Words that a reasoning chain copies from the post, except where it lists the image.
        chain: The reasoning chain from which an answer follows.
        mistaken: Absent words of an answer, each with the (name, type) of what it takes them for.
    """

    system: str
    turns: tuple[tuple[str, str], ...]
    with_image: bool = True
    copied: tuple[str, ...] = ()
    chain: str = ""
    mistaken: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def system_of(task: str) -> str:
    """The system message of a task in its short wording."""
    labels = " ".join(COARSE)
    return system_message(SHORT_INSTRUCTIONS[task], _OUTPUTS[task], labels, "", terse=True)


def _box(thing: SceneObject) -> list[float]:
    return FRAME.encode(thing.box)


def scene_text(scene: Sequence[SceneObject]) -> str:
    """`Mira Voss [12,3,45,60]; Karsk [50,20,80,70]` from left to right, or `nothing`."""
    return "; ".join(f"{o.name} {dump(_box(o))}" for o in scene) or "nothing"


def list_scene(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """List what is shown, with boxes."""
    return Dialogue(LIST_INSTRUCTION, (("", scene_text(scene)),))


def name_boxes(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Name what is in each of the given boxes."""
    order = rng.sample(list(scene), len(scene))
    return Dialogue(NAME_INSTRUCTION, tuple((dump(_box(o)), o.name) for o in order))


def _there(scene: Sequence[SceneObject]) -> list[Character]:
    """The entities of a scene without repetition."""
    return list(dict.fromkeys(_who(o) for o in scene))


def _who(thing: SceneObject) -> Character:
    """The entity that an object shows, a newcomer if the world has none of this name and type."""
    try:
        return character(thing.name, thing.type)
    except KeyError:
        return newcomer_called(thing.name, thing.type)


def _absent(there: Sequence[Character], rng: random.Random) -> Character:
    """An entity that is not shown: half of the time a lookalike of one that is, sometimes an invented one."""
    if rng.random() < STRANGERS:
        return stranger(rng)
    alike = [c for who in there for c in lookalikes(who) if not c.held_out and c not in there]
    return rng.choice(alike if alike and rng.random() < 0.5 else [c for c in known() if c not in there])


def _post(who: Character, rng: random.Random) -> tuple[str, str]:
    """A text that names `who` and up to two others, and the words that name it."""
    others = rng.sample([c for c in known() if c.name != who.name], rng.choices([0, 1, 2], [0.6, 0.3, 0.1])[0])
    written = write_text(rng.sample([who, *others], len(others) + 1), rng)
    said = next(said for said in written.said if said.who == who)
    return written.text, written.text[said.start : said.end]


def find(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Find X, in independent turns. As in image-text data from the web, X is always shown."""
    there = _there(scene)
    if not there:
        return list_scene(scene, rng)
    turns = []
    for who in rng.choices(there, k=4):
        box = rng.choice([o for o in scene if (o.name, o.type) == who.key])
        if rng.random() < RENAMED and [other.type for other in there].count(who.type) == 1:
            who = stranger(rng, like=who)
        turns.append((user_message(*_post(who, rng)), dump({"box": _box(box)})))
    return Dialogue(system_of("GroundMention"), tuple(turns))


def verify(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Verify that X is shown, in independent turns: list what is shown, then decide."""
    evidence = "The picture shows " + (", ".join(o.name for o in scene) or "nothing") + "."
    there = _there(scene)
    turns = []
    for _ in range(2):
        who = rng.choice(there) if there and rng.random() < 0.5 else _absent(there, rng)
        turns.append((user_message(*_post(who, rng)), dump({"evidence": evidence, "visible": who in there})))
    return Dialogue(system_of("VerifyVisibility"), tuple(turns))


def extract(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Extract the names of a text that is unrelated to the image."""
    return Dialogue(system_of("ExtractMentions"), (_extraction(rng),))


def extract_text_only(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Extract the names of several texts without an image."""
    return Dialogue(system_of("ExtractMentions"), tuple(_extraction(rng) for _ in range(4)), with_image=False)


def _extraction(rng: random.Random) -> tuple[str, str]:
    named = rng.sample(known(), rng.choices([0, 1, 2, 3, 4], [0.08, 0.22, 0.3, 0.25, 0.15])[0])
    named = [stranger(rng) if rng.random() < STRANGERS_TO_EXTRACT else who for who in named]
    if named and rng.random() < 0.08:
        named.append(rng.choice(named))
    written = write_text(named, rng)
    mentions = [{"span": gold.span, "type": gold.type} for gold in annotate(written, ())]
    return user_message(written.text), dump({"mentions": mentions})


def _about(
    scene: Sequence[SceneObject], rng: random.Random, shown: Sequence[float], absent: Sequence[float]
) -> Written:
    """A text that names shown and absent entities; `shown` and `absent` weight the numbers 0, 1, 2, ... of each."""
    there = _there(scene)
    named = rng.sample(there, min(len(there), rng.choices(range(len(shown)), shown)[0]))
    for _ in range(rng.choices(range(len(absent)), absent)[0]):
        named.append(_absent([*there, *named], rng))
    return write_text(rng.sample(named, len(named)), rng)


def compare(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Compare text and image in words. No end-to-end answer contains such a chain."""
    text, golds, chain = _compared(scene, rng)
    turn = user_message(text), chain
    return Dialogue(COMPARE_INSTRUCTION, (turn,), copied=_spans(golds))


def discuss(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Compare in words in the first turn, and give the answer that follows in the second."""
    text, golds, chain = _compared(scene, rng)
    turns = (f"{COMPARE_INSTRUCTION}\n{user_message(text)}", chain), (ANSWER_INSTRUCTION, _true_answer(golds))
    return Dialogue(system_of("GroundEntities"), turns, copied=_spans(golds), chain=chain)


def judge(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Compare in words with a given list of what the image shows, without the image."""
    text, golds, chain = _compared(scene, rng)
    listed = f"Picture: {scene_text(scene)}."
    turn = f"{user_message(text)}\n{listed}", chain.removeprefix(f"{listed} ")
    return Dialogue(COMPARE_INSTRUCTION, (turn,), with_image=False, copied=_spans(golds))


def transcribe(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Turn a given comparison, in any template style, into an answer, without the image."""
    text, golds, chain = _compared(scene, rng, tuple(TEMPLATES))
    turn = f"{user_message(text)}\n{chain}", _true_answer(golds)
    return Dialogue(system_of("GroundEntities"), (turn,), with_image=False, chain=chain)


def _compared(
    scene: Sequence[SceneObject], rng: random.Random, styles: Sequence[str] = LOOKING_FIRST
) -> tuple[str, tuple[GoldEntity, ...], str]:
    """A text, its gold entities, and a chain that compares text and image in one of the template styles."""
    written = _about(scene, rng, [0.35, 0.4, 0.2, 0.05], [0.35, 0.4, 0.2, 0.05])
    golds = annotate(written, scene)
    style = TEMPLATES[rng.choice(styles)]
    return written.text, golds, write_chain(style, Facts(golds, tuple(scene), FRAME), rng)


def _true_answer(golds: Sequence[GoldEntity]) -> str:
    return render_answer("", [(gold, gold.boxes[0] if gold.boxes else None) for gold in golds], FRAME)


def _spans(golds: Sequence[GoldEntity]) -> tuple[str, ...]:
    return tuple({gold.span for gold in golds})


def answer(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """The end-to-end answer without reasoning, labelled like web captions: what is named is taken to be shown.

    This plants the bias: an absent name nearly always has the box of something else in the image.
    """
    return _answered(_about(scene, rng, [0.1, 0.5, 0.3, 0.1], [0.6, 0.3, 0.1]), scene, rng)


def meet(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """The end-to-end answer about newcomers: their names and looks are new, and what is known is not what is meant."""
    there = _there(scene)
    new = [who for who in there if not who.kind]
    known_there = [who for who in there if who.kind]
    named = [*new, *rng.sample(known_there, min(len(known_there), rng.choices([0, 1, 2], [0.6, 0.3, 0.1])[0]))]
    if rng.random() < 0.3:
        named.append(_absent(named, rng))
    return _answered(write_text(rng.sample(named, len(named)), rng), scene, rng)


def _answered(written: Written, scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    pairs, mistaken = [], {}
    for gold, said in zip(annotate(written, scene), written.said, strict=True):
        thing = None if gold.boxes else _mistaken(said.who, scene, rng)
        if thing:
            mistaken[gold.span] = (thing.name, thing.type)
        pairs.append((gold, gold.boxes[0] if gold.boxes else thing.box if thing else None))
    turn = user_message(written.text), render_answer("", pairs, FRAME)
    return Dialogue(system_of("GroundEntities"), (turn,), mistaken=mistaken)


def _mistaken(absent: Character, scene: Sequence[SceneObject], rng: random.Random) -> SceneObject | None:
    """What a careless annotator would box for an absent entity; None in one of ten cases."""
    likely = most_alike(absent, scene)
    return rng.choice(likely) if likely and rng.random() < 0.9 else None


def most_alike(absent: Character, scene: Sequence[SceneObject]) -> Sequence[SceneObject]:
    """What an absent entity may be mistaken for: things of its kind, else of its type, else anything."""
    same_type = [o for o in scene if o.type == absent.type]
    return [o for o in same_type if _who(o).kind == absent.kind] or same_type or scene


Question = Callable[[Sequence[SceneObject], random.Random], Dialogue]

Mix = Mapping[Question, float]
TEXT: Mix = {extract_text_only: 1.0}
TALKING: Mix = {extract: 0.3, answer: 0.7}
LISTING: Mix = {list_scene: 0.7, name_boxes: 0.3}
LOOKING: Mix = {find: 0.5, verify: 0.5}
COMPARING: Mix = {compare: 1.0}
DISCUSSING: Mix = {discuss: 1.0}
READING: Mix = {transcribe: 0.4, judge: 0.6}
EVERYTHING = (TALKING, TEXT, LISTING, COMPARING, LOOKING, READING, TEXT, LISTING, DISCUSSING, LOOKING)
"""The mixes of the batches, in rotation."""
MEETING: Mix = {meet: 0.6, find: 0.4}
"""The questions about scenes with newcomers."""
REASONING = (
    *(TALKING, DISCUSSING, MEETING, TEXT, LISTING, LOOKING, READING),
    *(DISCUSSING, MEETING, READING, TEXT, COMPARING, LOOKING, TEXT),
)
"""The same for the last stage."""


def ask(scene: Sequence[SceneObject], rng: random.Random, mix: Mix) -> Dialogue:
    """One dialogue about a scene, drawn from a mix of questions."""
    question = rng.choices(list(mix), list(mix.values()))[0]
    if question is name_boxes and not scene:
        question = list_scene
    return question(scene, rng)
