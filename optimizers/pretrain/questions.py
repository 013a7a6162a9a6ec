"""What the embedded model is asked while it is pre-trained: dialogues about one picture of the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gmner.data.post import SceneObject
from gmner.data.world.cast import Character, characters, lookalikes
from gmner.data.world.draw import SIDE
from gmner.data.world.generate import annotate
from gmner.data.world.text import write_text
from gmner.optimizers.pretrain.tokenizer import SCALE
from gmner.optimizers.styles import TEMPLATES, Facts, write_chain
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import SHORT_INSTRUCTIONS, system_message, user_message
from gmner.signatures.wire import Frame, dump, render_answer

FRAME = Frame(BoxFormat("normalized", SCALE), (SIDE, SIDE))
LIST_INSTRUCTION = "What is shown?"
NAME_INSTRUCTION = "Who or what is there?"
COMPARE_INSTRUCTION = "Compare post and picture."

_OUTPUTS = {
    "GroundEntities": ("reasoning", "entities"),
    "ExtractMentions": ("mentions",),
    "VerifyVisibility": ("evidence", "visible"),
    "GroundMention": ("box",),
}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A system message and turns of (user, assistant); the picture, if any, stands in the first user turn.

    Attributes:
        system: The system message.
        turns: Pairs of what the user and the assistant say.
        with_image: Whether there is a picture.
        about: The name each turn asks about, or None where turns do not ask about one thing.
    """

    system: str
    turns: tuple[tuple[str, str], ...]
    with_image: bool = True
    about: tuple[str, ...] | None = None


def system_of(task: str) -> str:
    """The system message of a task in the terse wording."""
    labels = " ".join(COARSE)
    return system_message(SHORT_INSTRUCTIONS[task], _OUTPUTS[task], labels, "", terse=True)


def _by_name(name: str) -> Character:
    return next(c for c in characters() if c.name == name)


def _box(thing: SceneObject) -> list[int]:
    return FRAME.encode(thing.box)


def scene_text(scene: Sequence[SceneObject]) -> str:
    """`Mira Voss [12,3,45,60]; Karsk [50,20,80,70]` from left to right, or `nothing`."""
    return "; ".join(f"{o.name} {dump(_box(o))}" for o in scene) or "nothing"


def list_scene(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """What is there, with boxes."""
    return Dialogue(LIST_INSTRUCTION, (("", scene_text(scene)),))


def name_boxes(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """What is in each of these boxes."""
    order = rng.sample(list(scene), len(scene))
    return Dialogue(NAME_INSTRUCTION, tuple((dump(_box(o)), o.name) for o in order))


def _asked(scene: Sequence[SceneObject], rng: random.Random, turns: int) -> list[Character]:
    """Whom to ask about: mostly what is there, else something else, half of it a lookalike of what is there."""
    there = [_by_name(o.name) for o in scene]
    asked = []
    for _ in range(turns):
        if there and rng.random() < 0.62:
            asked.append(rng.choice(there))
        elif there and rng.random() < 0.5:
            asked.append(rng.choice(lookalikes(rng.choice(there).name)))
        else:
            asked.append(rng.choice(characters()))
    return asked


def _contrast(scene: Sequence[SceneObject], rng: random.Random, turns: int) -> list[Character]:
    """Whom to ask about so that only the name decides: things of the picture and lookalikes of them, in any order."""
    there = list({o.name: _by_name(o.name) for o in scene}.values())
    absent = [who for thing in there for who in lookalikes(thing.name) if who not in there]
    absent = absent or rng.sample(characters(), 2)
    shown = rng.sample(there, min(len(there), turns - 1))
    strangers = [rng.choice(absent if rng.random() < 0.6 else characters()) for _ in range(turns - len(shown))]
    asked = [*shown, *strangers]
    return rng.sample(asked, len(asked))


def _at_random(scene: Sequence[SceneObject], rng: random.Random, turns: int) -> list[Character]:
    """Whom to ask about so that no answer tells anything of the next: each turn a thing of the picture, or not."""
    there = [_by_name(o.name) for o in scene]
    absent = [who for thing in there for who in lookalikes(thing.name) if who not in there]
    asked = []
    for _ in range(turns):
        if there and rng.random() < 0.5:
            asked.append(rng.choice(there))
        else:
            asked.append(rng.choice(absent if absent and rng.random() < 0.5 else characters()))
    return asked


def _first(scene: Sequence[SceneObject], name: str) -> SceneObject | None:
    return next((o for o in scene if o.name == name), None)


def find(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Where is X: a box, or null."""
    return _find(scene, rng, _asked(scene, rng, 3))


def find_among(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Where is X, asked of things and of their lookalikes in one picture."""
    return _find(scene, rng, _contrast(scene, rng, 4))


def find_any(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Where is X, each turn for itself; the post names others beside."""
    return _find(scene, rng, _at_random(scene, rng, 3), beside=2)


def verify_any(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Is X shown, each turn for itself; the post names others beside."""
    return _verify(scene, rng, _at_random(scene, rng, 2), beside=2)


def _post(who: Character, rng: random.Random, beside: int) -> str:
    """A text that names `who`, and sometimes up to `beside` others."""
    others = rng.sample([c for c in characters() if c != who], rng.randint(0, beside))
    named = [who, *others]
    return write_text(rng.sample(named, len(named)), rng)


def _find(scene: Sequence[SceneObject], rng: random.Random, asked: Sequence[Character], beside: int = 0) -> Dialogue:
    turns = []
    for who in asked:
        thing = _first(scene, who.name)
        text = _post(who, rng, beside)
        turns.append((user_message(text, who.name), dump({"box": None if thing is None else _box(thing)})))
    return Dialogue(system_of("GroundMention"), tuple(turns), about=tuple(who.name for who in asked))


def verify(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Is X shown: first what is there, then yes or no."""
    return _verify(scene, rng, _asked(scene, rng, 3))


def verify_among(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Is X shown, asked of things and of their lookalikes in one picture."""
    return _verify(scene, rng, _contrast(scene, rng, 3))


def _verify(scene: Sequence[SceneObject], rng: random.Random, asked: Sequence[Character], beside: int = 0) -> Dialogue:
    evidence = "The picture shows " + (", ".join(o.name for o in scene) or "nothing") + "."
    turns = []
    for who in asked:
        answer = dump({"evidence": evidence, "visible": _first(scene, who.name) is not None})
        turns.append((user_message(_post(who, rng, beside), who.name), answer))
    return Dialogue(system_of("VerifyVisibility"), tuple(turns), about=tuple(who.name for who in asked))


def _mentions(gold: Sequence[GoldEntity]) -> str:
    return dump({"mentions": [{"span": g.span, "type": g.type} for g in gold]})


def extract(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Names in a text that has little to do with the picture."""
    named = rng.sample(characters(), rng.choices([0, 1, 2, 3, 4], [0.1, 0.35, 0.3, 0.15, 0.1])[0])
    text = write_text(named, rng)
    gold = annotate(text, named, scene)
    return Dialogue(system_of("ExtractMentions"), ((user_message(text), _mentions(gold)),))


def extract_text_only(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Names in several texts without a picture."""
    turns = []
    for _ in range(4):
        named = rng.sample(characters(), rng.choices([0, 1, 2, 3, 4], [0.1, 0.35, 0.3, 0.15, 0.1])[0])
        text = write_text(named, rng)
        turns.append((user_message(text), _mentions(annotate(text, named, ()))))
    return Dialogue(system_of("ExtractMentions"), tuple(turns), with_image=False)


def compare(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Post against picture in words, in any template style; no answer to a post contains such a chain."""
    named = list({c.name: c for c in _at_random(scene, rng, rng.choices([1, 2, 3], [0.5, 0.35, 0.15])[0])}.values())
    text = write_text(named, rng)
    facts = Facts(annotate(text, named, scene), tuple(scene), FRAME)
    chain = write_chain(rng.choice(list(TEMPLATES.values())), facts, rng)
    return Dialogue(COMPARE_INSTRUCTION, ((user_message(text), chain),))


def answer(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """The end-to-end answer, without reasoning; what is named is nearly always shown, as in web data."""
    there = list({o.name: _by_name(o.name) for o in scene}.values())
    count = min(len(there), rng.choices([1, 2, 3], [0.6, 0.3, 0.1])[0])
    named = rng.sample(there, count)
    if rng.random() < 0.12 or (not named and rng.random() < 0.5):
        named += rng.sample([c for c in characters() if c not in there], 1)
    rng.shuffle(named)
    text = write_text(named, rng)
    gold = annotate(text, named, scene)
    pairs = [(g, g.boxes[0] if g.boxes else None) for g in gold]
    return Dialogue(system_of("GroundEntities"), ((user_message(text), render_answer("", pairs, FRAME)),))


Question = Callable[[Sequence[SceneObject], random.Random], Dialogue]

Mix = Mapping[Question, float]
TEXT: Mix = {extract_text_only: 1.0}
SHORT: Mix = {list_scene: 0.36, name_boxes: 0.08, extract: 0.12, answer: 0.44}
LONG: Mix = {find: 0.75, verify: 0.25}
BINDING: Mix = {find_among: 0.62, verify_among: 0.38}
FULL = (SHORT, LONG, SHORT, LONG, SHORT)
CHOOSING: Mix = {find_any: 0.75, verify_any: 0.25}
KEEPING: Mix = {list_scene: 0.2, name_boxes: 0.05, extract: 0.45, answer: 0.3}
CONTRAST = (BINDING, BINDING, SHORT)
COMPARING: Mix = {compare: 1.0}
CHOICE = (CHOOSING, COMPARING, CHOOSING, COMPARING, KEEPING)
"""What a batch is asked, in turn."""


def ask(scene: Sequence[SceneObject], rng: random.Random, mix: Mix) -> Dialogue:
    """One dialogue about a scene, drawn from a mix of questions."""
    question = rng.choices(list(mix), list(mix.values()))[0]
    if question is name_boxes and not scene:
        question = list_scene
    return question(scene, rng)
