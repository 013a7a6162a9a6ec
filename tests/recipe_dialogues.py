"""Dialogues of pre-training about scenes of the world."""

import random
from collections.abc import Iterator

from worlds import Lazy, drawn

from gmner.data.post import SceneObject
from gmner.recipes.embedded import questions
from gmner.recipes.embedded.questions import Dialogue

POSTS = drawn("pretrain", 40, seed=1)
SCENES = Lazy(lambda: [tuple(thing for thing in post.scene if thing.type) for post in POSTS])


def dialogues() -> Iterator[tuple[str, tuple[SceneObject, ...], Dialogue]]:
    """Every kind of question about every scene."""
    kinds = (
        questions.list_scene, questions.name_boxes, questions.find, questions.verify, questions.extract,
        questions.extract_text_only, questions.answer, questions.compare,
        questions.discuss, questions.judge, questions.transcribe,
    )  # fmt: skip
    for kind in kinds:
        for place, scene in enumerate(SCENES):
            if scene or kind is not questions.name_boxes:
                yield kind.__name__, scene, kind(scene, random.Random(place))
