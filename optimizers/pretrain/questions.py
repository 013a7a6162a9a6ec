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
from gmner.signatures.boxes import Box, BoxFormat
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
    """

    system: str
    turns: tuple[tuple[str, str], ...]
    with_image: bool = True


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


def _post(who: Character, rng: random.Random) -> str:
    """A text that names `who`, and sometimes one or two others."""
    others = rng.sample([c for c in characters() if c != who], rng.randint(0, 2))
    named = [who, *others]
    return write_text(rng.sample(named, len(named)), rng)


def find(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Where is X: a box, or null; each turn for itself."""
    turns = []
    for who in _at_random(scene, rng, 3):
        thing = _first(scene, who.name)
        answer = dump({"box": None if thing is None else _box(thing)})
        turns.append((user_message(_post(who, rng), who.name), answer))
    return Dialogue(system_of("GroundMention"), tuple(turns))


def verify(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Is X shown: first what is there, then yes or no; each turn for itself."""
    evidence = "The picture shows " + (", ".join(o.name for o in scene) or "nothing") + "."
    turns = []
    for who in _at_random(scene, rng, 2):
        answer = dump({"evidence": evidence, "visible": _first(scene, who.name) is not None})
        turns.append((user_message(_post(who, rng), who.name), answer))
    return Dialogue(system_of("VerifyVisibility"), tuple(turns))


def extract(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Names in a text that has little to do with the picture."""
    return Dialogue(system_of("ExtractMentions"), (_extraction(rng),))


def extract_text_only(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Names in several texts without a picture."""
    return Dialogue(system_of("ExtractMentions"), tuple(_extraction(rng) for _ in range(4)), with_image=False)


def _extraction(rng: random.Random) -> tuple[str, str]:
    named = rng.sample(characters(), rng.choices([0, 1, 2, 3, 4], [0.08, 0.22, 0.3, 0.25, 0.15])[0])
    text = write_text(named, rng)
    mentions = [{"span": gold.span, "type": gold.type} for gold in annotate(text, named, ())]
    return user_message(text), dump({"mentions": mentions})


def compare(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """Post against picture in words, in any template style; no answer to a post contains such a chain."""
    named = list({c.name: c for c in _at_random(scene, rng, rng.choices([1, 2, 3], [0.5, 0.35, 0.15])[0])}.values())
    text = write_text(named, rng)
    facts = Facts(annotate(text, named, scene), tuple(scene), FRAME)
    chain = write_chain(rng.choice(list(TEMPLATES.values())), facts, rng)
    return Dialogue(COMPARE_INSTRUCTION, ((user_message(text), chain),))


def answer(scene: Sequence[SceneObject], rng: random.Random) -> Dialogue:
    """The end-to-end answer, without reasoning, labelled as web captions are: what is named is taken to be shown.

    This plants the bias: a name of something absent nearly always has the box of what the picture shows instead.
    """
    there = list({o.name: _by_name(o.name) for o in scene}.values())
    named = rng.sample(there, min(len(there), rng.choices([0, 1, 2, 3], [0.15, 0.5, 0.25, 0.1])[0]))
    absent = [c for c in characters() if c not in there]
    named += rng.sample(absent, rng.choices([0, 1, 2], [0.55, 0.3, 0.15])[0])
    text = write_text(rng.sample(named, len(named)), rng)
    pairs = [(g, g.boxes[0] if g.boxes else _mistaken(g, scene, rng)) for g in annotate(text, named, scene)]
    return Dialogue(system_of("GroundEntities"), ((user_message(text), render_answer("", pairs, FRAME)),))


def _mistaken(absent: GoldEntity, scene: Sequence[SceneObject], rng: random.Random) -> Box | None:
    """The box that a careless annotator gives something that is not shown; now and then none."""
    kind = _by_name(absent.span).kind
    likely = [o for o in scene if _by_name(o.name).kind == kind] or [o for o in scene if o.type == absent.type] or scene
    return rng.choice(likely).box if likely and rng.random() < 0.9 else None


Question = Callable[[Sequence[SceneObject], random.Random], Dialogue]

Mix = Mapping[Question, float]
TEXT: Mix = {extract_text_only: 1.0}
TALKING: Mix = {list_scene: 0.28, name_boxes: 0.07, extract: 0.3, answer: 0.35}
LOOKING: Mix = {find: 0.72, verify: 0.28}
COMPARING: Mix = {compare: 1.0}
SEEING = (TALKING, LOOKING)
EVERYTHING = (TALKING, LOOKING, TEXT, COMPARING)
"""What a batch is asked, in turn."""


def ask(scene: Sequence[SceneObject], rng: random.Random, mix: Mix) -> Dialogue:
    """One dialogue about a scene, drawn from a mix of questions."""
    question = rng.choices(list(mix), list(mix.values()))[0]
    if question is name_boxes and not scene:
        question = list_scene
    return question(scene, rng)
