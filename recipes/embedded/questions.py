"""The questions of pre-training: dialogues about one image of the world."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gmner.data.post import SceneObject
from gmner.data.world.cast import Character, known, lookalikes
from gmner.data.world.drawing import SIDE
from gmner.data.world.generate import annotate
from gmner.data.world.text import Written, write_text
from gmner.optimizers.chains.styles import TEMPLATES, Facts, write_chain
from gmner.recipes.embedded.newcomers import known_set, newcomer
from gmner.recipes.embedded.pool import Scene
from gmner.recipes.embedded.tokenizer import SCALE
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import SHORT_INSTRUCTIONS, system_message, user_message
from gmner.signatures.wire import Frame, dump, render_answer

FRAME = Frame(BoxFormat("normalized", SCALE), (SIDE, SIDE))
LIST_INSTRUCTION = "What is shown?"
NAME_INSTRUCTION = "Who or what is there?"
COMPARE_INSTRUCTION = "Compare post and picture."
ANSWER_INSTRUCTION = "Your answer?"


@dataclass(frozen=True, slots=True)
class QuestionSettings:
    """What differs between the stages. A tuple weights the numbers 0, 1, 2, ... of names in a text.

    Attributes:
        names: Of texts that are unrelated to the image.
        shown: Entities that the image shows, in end-to-end answers.
        absent: Entities that it does not show, in end-to-end answers.
        compared: Of each of both, in comparisons of text and image.
        repeated: Share of the texts that are unrelated to the image and name an entity twice.
        repeated_about: The same for end-to-end answers and comparisons.
        invented: Share of invented names in texts that are unrelated to the image.
        mistaken: Share of the absent entities that get a box in end-to-end answers.
        styles: Styles of the comparisons.
        listed: Whether images with newcomers are listed without them. If not, there are other questions about them.
    """

    names: tuple[float, ...] = (0.08, 0.22, 0.3, 0.25, 0.15)
    shown: tuple[float, ...] = (0.1, 0.5, 0.3, 0.1)
    absent: tuple[float, ...] = (0.6, 0.3, 0.1)
    compared: tuple[float, ...] = (0.35, 0.4, 0.2, 0.05)
    repeated: float = 0.08
    repeated_about: float = 0.0
    invented: float = 0.7
    mistaken: float = 0.9
    styles: tuple[str, ...] = tuple(TEMPLATES)
    listed: bool = True


EARLY = QuestionSettings()
"""The first three stages."""

LAST = QuestionSettings(
    names=(0.06, 0.2, 0.24, 0.2, 0.15, 0.1, 0.05), shown=(0.1, 0.38, 0.28, 0.16, 0.08),
    absent=(0.45, 0.28, 0.15, 0.08, 0.04), compared=(0.28, 0.34, 0.2, 0.12, 0.06), repeated=0.12, repeated_about=0.12,
    invented=0.4, mistaken=1.0, listed=False,
)  # fmt: skip
"""The last two stages: longer lists and repeated names, which a model tends to cut short."""

NEW_ABSENT = 0.3
"""Largest share of invented entities among those that need not be shown."""

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
        judging: Whether the dialogue states correctly for every name whether the image shows it.
        copied: Words that a reasoning chain copies from the post, except where it lists the image.
        newcomers: The invented entities that the dialogue names.
    """

    system: str
    turns: tuple[tuple[str, str], ...]
    with_image: bool = True
    judging: bool = False
    copied: tuple[str, ...] = ()
    newcomers: tuple[Character, ...] = ()


def system_of(task: str) -> str:
    """The system message of a task in its short wording."""
    labels = " ".join(COARSE)
    return system_message(SHORT_INSTRUCTIONS[task], _OUTPUTS[task], labels, "", terse=True)


def _box(thing: SceneObject) -> list[float]:
    return FRAME.encode(thing.box)


def scene_text(things: Sequence[SceneObject]) -> str:
    """`Mira Voss [12,3,45,60]; Karsk [50,20,80,70]` from left to right, or `nothing`."""
    return "; ".join(f"{o.name} {dump(_box(o))}" for o in things) or "nothing"


def _nameable(scene: Scene, named: Collection[Character] = ()) -> tuple[SceneObject, ...]:
    """The things whose names can be known: the image does not say what a newcomer is called, but a text can."""
    pairs = zip(scene.things, scene.cast, strict=True)
    return tuple(thing for thing, who in pairs if who in known_set() or who in named)


def list_scene(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """List what is shown, with boxes; name what is in some boxes, or find a newcomer, if a list would leave one out."""
    if not settings.listed and _new(scene.cast):
        return name_boxes(scene, rng) if _nameable(scene) else find(scene, rng, turns=1)
    return Dialogue(LIST_INSTRUCTION, (("", scene_text(_nameable(scene))),))


def name_boxes(scene: Scene, rng: random.Random) -> Dialogue:
    """Name what is in each of the given boxes; a list if there is nothing that can be named."""
    things = _nameable(scene)
    if not things:
        return list_scene(scene, rng)
    order = rng.sample(things, len(things))
    return Dialogue(NAME_INSTRUCTION, tuple((dump(_box(o)), o.name) for o in order))


def _there(scene: Scene) -> list[Character]:
    """The entities of a scene without repetition."""
    return list(dict.fromkeys(scene.cast))


def _new(cast: Iterable[Character]) -> tuple[Character, ...]:
    """The invented entities among these, without repetition."""
    return tuple(who for who in dict.fromkeys(cast) if who not in known_set())


def _absent(scene: Scene, named: Sequence[Character], rng: random.Random) -> Character:
    """An entity that is neither shown nor named.

    Up to `NEW_ABSENT` of them are newcomers; half of the others are lookalikes of an entity that is shown or named, if
    there are any. It is no newcomer if the image shows another one of its type, since a name that is new would then
    rightly be taken for that one.
    """
    there = [*_there(scene), *named]
    if rng.random() < NEW_ABSENT:
        who = newcomer(rng, rng.choice(there) if there and rng.random() < 0.5 else None)
        if who.type not in {other.type for other in _new(scene.cast)}:
            return who
    alike = [c for who in there for c in lookalikes(who) if not c.held_out and c not in there]
    return rng.choice(alike if alike and rng.random() < 0.5 else [c for c in known() if c not in there])


def _post(who: Character, scene: Scene, rng: random.Random) -> tuple[Written, str]:
    """A text that names `who` and up to two others, and the words that name it."""
    others = rng.sample([c for c in known() if c.name != who.name], rng.choices([0, 1, 2], [0.6, 0.3, 0.1])[0])
    taken = {other.type for other in _new(scene.cast)}
    others = [newcomer(rng, c) if c.type not in taken and rng.random() < NEW_ABSENT else c for c in others]
    written = write_text(rng.sample([who, *others], len(others) + 1), rng)
    said = next(said for said in written.said if said.who == who)
    return written, written.text[said.start : said.end]


def find(scene: Scene, rng: random.Random, turns: int = 4) -> Dialogue:
    """Find X, in independent turns. As in image-text data from the web, X is always shown."""
    there = _there(scene)
    if not there:
        return list_scene(scene, rng)
    asked, new = [], list[Character]()
    for who in rng.choices(there, [3 if who in _new(there) else 1 for who in there], k=turns):
        box = rng.choice([o for o, shown in zip(scene.things, scene.cast, strict=True) if shown == who])
        written, words = _post(who, scene, rng)
        new += [said.who for said in written.said]
        asked.append((user_message(written.text, words), dump({"box": _box(box)})))
    return Dialogue(system_of("GroundMention"), tuple(asked), newcomers=_new(new))


def verify(scene: Scene, rng: random.Random) -> Dialogue:
    """Verify that X is shown, in independent turns: list what is shown, then decide."""
    there, turns, new = _there(scene), [], list[Character]()
    for _ in range(2):
        who = rng.choice(there) if there and rng.random() < 0.5 else _absent(scene, (), rng)
        written, words = _post(who, scene, rng)
        new += [said.who for said in written.said]
        listed = ", ".join(o.name for o in _nameable(scene, (who,))) or "nothing"
        answer = {"evidence": f"The picture shows {listed}.", "visible": who in there}
        turns.append((user_message(written.text, words), dump(answer)))
    return Dialogue(system_of("VerifyVisibility"), tuple(turns), judging=True, newcomers=_new(new))


def extract(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """Extract the names of a text that is unrelated to the image."""
    turn, new = _extraction(rng, settings)
    return Dialogue(system_of("ExtractMentions"), (turn,), newcomers=new)


def extract_text_only(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """Extract the names of several texts without an image."""
    turns, new = zip(*(_extraction(rng, settings) for _ in range(4)), strict=True)
    return Dialogue(system_of("ExtractMentions"), turns, with_image=False, newcomers=tuple(itertools.chain(*new)))


def _extraction(rng: random.Random, settings: QuestionSettings) -> tuple[tuple[str, str], tuple[Character, ...]]:
    """A turn, and the newcomers of its text."""
    named = rng.sample(known(), _number(rng, settings.names))
    named = [newcomer(rng, who) if rng.random() < settings.invented else who for who in named]
    if named and rng.random() < settings.repeated:
        named.append(rng.choice(named))
    written = write_text(named, rng)
    mentions = [{"span": gold.span, "type": gold.type} for gold in annotate(written, ())]
    return (user_message(written.text), dump({"mentions": mentions})), _new(named)


def _number(rng: random.Random, weights: Sequence[float]) -> int:
    """A number from 0 on, with these weights."""
    return rng.choices(range(len(weights)), weights)[0]


def _about(
    scene: Scene, rng: random.Random, shown: Sequence[float], absent: Sequence[float], settings: QuestionSettings
) -> Written:
    """A text that names shown and absent entities; `shown` and `absent` weight the numbers 0, 1, 2, ... of each."""
    there = _there(scene)
    named = rng.sample(there, min(len(there), _number(rng, shown)))
    for _ in range(_number(rng, absent)):
        named.append(_absent(scene, named, rng))
    if named and settings.repeated_about and rng.random() < settings.repeated_about:
        named.append(rng.choice(named))
    return write_text(rng.sample(named, len(named)), rng)


def compare(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """Compare text and image in words, in any template style. No end-to-end answer contains such a chain."""
    written, golds, chain = _compared(scene, rng, settings)
    turn = user_message(written.text), chain
    return Dialogue(COMPARE_INSTRUCTION, (turn,), judging=True, copied=_spans(golds), newcomers=_said(written))


def discuss(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """Compare in words in the first turn, and give the answer that follows in the second."""
    written, golds, chain = _compared(scene, rng, settings)
    turns = (f"{COMPARE_INSTRUCTION}\n{user_message(written.text)}", chain), (ANSWER_INSTRUCTION, _true_answer(golds))
    system = system_of("GroundEntities")
    return Dialogue(system, turns, judging=True, copied=_spans(golds), newcomers=_said(written))


def transcribe(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """Turn a given comparison into an answer, without the image."""
    written, golds, chain = _compared(scene, rng, settings)
    turn = f"{user_message(written.text)}\n{chain}", _true_answer(golds)
    return Dialogue(system_of("GroundEntities"), (turn,), with_image=False, newcomers=_said(written))


def _compared(
    scene: Scene, rng: random.Random, settings: QuestionSettings
) -> tuple[Written, tuple[GoldEntity, ...], str]:
    """A text, its gold entities, and a chain that compares text and image in a random template style."""
    written = _about(scene, rng, settings.compared, settings.compared, settings)
    golds = annotate(written, scene.things)
    style = TEMPLATES[rng.choice(settings.styles)]
    seen = _nameable(scene, [said.who for said in written.said])
    return written, golds, write_chain(style, Facts(golds, seen, FRAME), rng)


def _said(written: Written) -> tuple[Character, ...]:
    """The newcomers that a text names."""
    return _new(said.who for said in written.said)


def _true_answer(golds: Sequence[GoldEntity]) -> str:
    return render_answer("", [(gold, gold.boxes[0] if gold.boxes else None) for gold in golds], FRAME)


def _spans(golds: Sequence[GoldEntity]) -> tuple[str, ...]:
    return tuple({gold.span for gold in golds})


def answer(scene: Scene, rng: random.Random, settings: QuestionSettings = EARLY) -> Dialogue:
    """The end-to-end answer without reasoning, labelled like web captions: what is named is taken to be shown.

    This plants the bias: an absent name nearly always has the box of something else in the image.
    """
    written = _about(scene, rng, settings.shown, settings.absent, settings)
    golds = annotate(written, scene.things)
    pairs = [
        (g, g.boxes[0] if g.boxes else _mistaken(said.who, scene, rng, settings.mistaken))
        for g, said in zip(golds, written.said, strict=True)
    ]
    turn = user_message(written.text), render_answer("", pairs, FRAME)
    return Dialogue(system_of("GroundEntities"), (turn,), newcomers=_said(written))


def _mistaken(absent: Character, scene: Scene, rng: random.Random, share: float) -> Box | None:
    """The box that a careless annotator would draw for an absent entity, for this share of them; otherwise None."""
    keys = set(likely_for(absent, scene))
    likely = [thing for thing in scene.things if (thing.name, thing.type) in keys]
    return rng.choice(likely).box if likely and rng.random() < share else None


def likely_for(absent: Character, scene: Scene) -> list[tuple[str, str]]:
    """The (name, type) of what an absent entity would be taken for: of its kind, or else of its type, or else all."""
    alike = [who for who in scene.cast if (who.type, who.kind) == (absent.type, absent.kind)]
    return [who.key for who in alike or [who for who in scene.cast if who.type == absent.type] or scene.cast]


Question = Callable[..., Dialogue]
"""Takes a scene, a random generator and, unless it is the same in all stages, `settings`."""

Mix = Mapping[Question, float]
TEXT: Mix = {extract_text_only: 1.0}
TALKING: Mix = {list_scene: 0.4, name_boxes: 0.1, extract: 0.15, answer: 0.35}
LOOKING: Mix = {find: 0.5, verify: 0.5}
COMPARING: Mix = {compare: 1.0}
EVERYTHING = (TALKING, COMPARING, LOOKING, TEXT, COMPARING, LOOKING)
"""The mixes of the batches, in rotation."""


def _in_last_stages(mix: Mix, settings: QuestionSettings = LAST) -> Mix:
    """The mix with the settings of the last two stages."""
    return {partial(question, settings=settings): weight for question, weight in mix.items()}


LONG_TALKING = {**_in_last_stages({list_scene: 0.35, extract: 0.1, answer: 0.4}), name_boxes: 0.15}
LONG_TEXT, LONG_COMPARING = _in_last_stages(TEXT), _in_last_stages(COMPARING)
DISCUSSING, READING = _in_last_stages({discuss: 1.0}), _in_last_stages({transcribe: 1.0})
REASONING = (
    LONG_TALKING, DISCUSSING, LONG_TEXT, LOOKING, LONG_TALKING, READING, DISCUSSING, LONG_TEXT, LONG_TALKING,
    LONG_COMPARING,
)  # fmt: skip
"""The same for the stage `reasoning`."""

BLIND = replace(LAST, styles=("picture_first",))
"""The last stage: comparisons begin with what the image shows."""

LISTS, ANSWERS = _in_last_stages({list_scene: 1.0}), _in_last_stages({extract: 0.15, answer: 0.85})
COMPARED, DISCUSSED, READ = (_in_last_stages({kind: 1.0}, BLIND) for kind in (compare, discuss, transcribe))
LISTING = (
    LISTS, ANSWERS, DISCUSSED, LISTS, COMPARED, LOOKING, LISTS, DISCUSSED, ANSWERS, LISTS, LONG_TEXT, READ, LISTS,
    COMPARED,
)  # fmt: skip
"""The same for the stage `listing`: every second batch is of lists, which are short."""


def ask(scene: Scene, rng: random.Random, mix: Mix) -> Dialogue:
    """One dialogue about a scene, drawn from a mix of questions."""
    return rng.choices(list(mix), list(mix.values()))[0](scene, rng)
