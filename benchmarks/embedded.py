"""Measures the skills and the bias of the embedded model on held-out posts of the world.

    python benchmarks/embedded.py [--posts 300] [--model FOLDER] [--split dev]

Prints JSON; shares are in percent:

- `names_mner_f1`: MNER F1 of extraction.
- `where`: grounding. Share of shown mentions that are boxed with IoU > 0.5, and of absent mentions that are answered
  with "not shown", also separately for images that show a lookalike.
- `whether`: verification. Shares of shown and of absent mentions that are answered correctly.
- `listed`: listing what an image shows. Share of the objects of the scene that are named with IoU > 0.5, share of the
  listed objects that are correct, and share of boxes that are named correctly.
- `end_to_end`: scores and bias of `GMNER`.
- `confidence`: how often a correct entity has a higher confidence than a wrong one (50: confidence is useless).
  `names`: correct in span and type; `regions`: of those, also correct in region.
- `load_s`: seconds to load the model, without imports. `answer_s`: median seconds per answer, one at a time.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import dspy
from dspy import lm15
from scipy.stats import mannwhitneyu

from gmner import GMNER, Box, Post, Prediction, World, evaluate, load_vlm
from gmner.data.files.atomic import encoded
from gmner.data.scoring.entity_errors import EntityError, find_errors
from gmner.data.world.cast import called, lookalikes
from gmner.programs.staged import StagedGMNER
from gmner.recipes.embedded.questions import FRAME, LIST_INSTRUCTION, NAME_INSTRUCTION
from gmner.signatures.errors import InputError
from gmner.signatures.forms import as_entity
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import dump

_ITEM = re.compile(r"(?:^|; )([^;\[]+) (\[\d+,\d+,\d+,\d+\])")


def ask(program: StagedGMNER, predict: dspy.Predict, inputs: Sequence[dict[str, Any]]) -> list[Any]:
    """Answer many questions, in order."""
    with dspy.context(adapter=program.adapter()):
        run = dspy.Parallel(num_threads=64, disable_progress_bar=True, provide_traceback=True)
        return run([(predict, values) for values in inputs])


def names(program: StagedGMNER, posts: Sequence[Post]) -> float:
    """MNER F1 of extraction in percent."""
    answers = ask(program, program.extract, [{"text": p.text, "image": dspy.Image(p.image)} for p in posts])
    predictions = [
        Prediction(p.id, p.text, "", tuple(as_entity(m) for m in a.mentions))
        for p, a in zip(posts, answers, strict=True)
    ]
    return evaluate(predictions, posts, progress=False).mner.f1


def where(program: StagedGMNER, posts: Sequence[Post]) -> dict[str, float]:
    """Shares of shown mentions with a correct box, and of absent mentions answered with "not shown"."""
    mentions = [(post, gold) for post in posts for gold in post.gold]
    inputs = [{"text": p.text, "image": dspy.Image(p.image), "mention": g} for p, g in mentions]
    boxes = [answer.box for answer in ask(program, program.ground, inputs)]
    hits = [(p, g, right_region(g, box)) for (p, g), box in zip(mentions, boxes, strict=True)]
    return {
        "found_of_shown": share([hit for _, g, hit in hits if g.visible]),
        "not_shown_of_absent": share([hit for _, g, hit in hits if not g.visible]),
        "not_shown_of_absent_lookalike": share([hit for p, g, hit in hits if not g.visible and has_lookalike(p, g)]),
        "mentions": len(hits),
    }


def whether(program: StagedGMNER, posts: Sequence[Post]) -> dict[str, float]:
    """Shares of shown and of absent mentions that are answered correctly."""
    mentions = [(post, gold) for post in posts for gold in post.gold]
    inputs = [{"text": p.text, "image": dspy.Image(p.image), "mention": g} for p, g in mentions]
    answers = [answer.visible for answer in ask(program, program.verify, inputs)]
    right = [(gold.visible, gold.visible == visible) for (_, gold), visible in zip(mentions, answers, strict=True)]
    return {
        "right_of_shown": share([hit for shown, hit in right if shown]),
        "right_of_absent": share([hit for shown, hit in right if not shown]),
    }


def confidence(answers: Sequence[Prediction], posts: Sequence[Post]) -> dict[str, float]:
    """How well confidence separates correct from wrong entities: the area under the ROC curve in percent."""
    errors = [
        error
        for post, answer in zip(posts, answers, strict=True)
        for error in find_errors(post.gold, answer.entities)
        if error.predicted is not None
    ]
    by_name = [(error, all(fault.about_regions for fault in error.faults)) for error in errors]
    by_region = [(error, not error.faults) for error, right in by_name if right]
    return {"names": _area(by_name), "regions": _area(by_region)}


def _area(judged: Sequence[tuple[EntityError, bool]]) -> float:
    groups = [
        [e.predicted.confidence for e, right in judged if e.predicted and right == wanted] for wanted in (True, False)
    ]
    pairs = len(groups[0]) * len(groups[1])
    return round(100 * float(mannwhitneyu(*groups).statistic) / pairs, 1) if pairs else 0.0


def listed(lm: dspy.LM, posts: Sequence[Post]) -> dict[str, float]:
    """Shares of scene objects that are listed, of listed objects that are correct, and of boxes named correctly."""
    listed_objects: list[bool] = []
    right_items: list[bool] = []
    for post, text in zip(posts, free_text_answers(lm, LIST_INSTRUCTION, [(p, "") for p in posts]), strict=True):
        items = [(name, box_or_none(json.loads(box))) for name, box in _ITEM.findall(text)]
        things = [thing for thing in post.scene or () if thing.type]
        matches = [[b is not None and n == t.name and t.box.iou(b) > 0.5 for t in things] for n, b in items]
        right_items += [any(row) for row in matches]
        listed_objects += [any(row[column] for row in matches) for column in range(len(things))]
    boxed = [(p, thing) for p in posts for thing in p.scene or () if thing.type]
    answers = free_text_answers(lm, NAME_INSTRUCTION, [(p, dump(FRAME.encode(thing.box))) for p, thing in boxed])
    named = [thing.name == name for (_, thing), name in zip(boxed, answers, strict=True)]
    return {
        "found_of_scene": share(listed_objects),
        "right_of_listed": share(right_items),
        "named_of_boxed": share(named),
    }


def box_or_none(wire: Sequence[float]) -> Box | None:
    """The box of an answer in free text, which no schema constrains; None: it has reversed corners."""
    try:
        return FRAME.decode(wire)
    except InputError:
        return None


def free_text_answers(lm: dspy.LM, system: str, questions: Sequence[tuple[Post, str]]) -> list[str]:
    """Free-text answers of the model to a question about the image of each post."""
    requests = []
    for post, user in questions:
        image = lm15.ImagePart(data=base64.b64encode(encoded(post.image, quick=True)[0]).decode())
        message = lm15.Message.user([image, lm15.TextPart(user)])
        requests.append(
            lm15.Request(model=lm.model, system=system, messages=(message,), config=lm15.Config(max_tokens=120))
        )
    return [response.message.parts[0].text for response in lm.engine.complete_many(requests)]


def right_region(gold: GoldEntity, box: Box | None) -> bool:
    """The rule of the paper: None if the entity is not shown, otherwise IoU > 0.5 with any gold box."""
    if box is None:
        return not gold.visible
    return any(box.iou(valid) > 0.5 for valid in gold.boxes)


def has_lookalike(post: Post, gold: GoldEntity) -> bool:
    """Whether the image shows another entity of the same kind."""
    others = {who.key for who in lookalikes(called(gold.span, gold.type))}
    return any((thing.name, thing.type) in others for thing in post.scene or ())


def share(hits: Sequence[bool]) -> float:
    """Share of hits in percent."""
    return round(100 * sum(hits) / max(len(hits), 1), 1)


def answer_seconds(program: GMNER, posts: Sequence[Post]) -> float:
    """Median seconds per answer, one at a time, without the first."""
    seconds = []
    for post in posts:
        start = time.perf_counter()
        program(text=post.text, image=post.image)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=300)
    parser.add_argument("--model")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    args = parser.parse_args()
    posts = World().posts(args.split, args.posts)
    start = time.perf_counter()
    lm = load_vlm(args.model, max_batch=32, cache=False)
    load = time.perf_counter() - start
    staged = StagedGMNER(lm=lm)
    end_to_end = GMNER(lm=lm, confidence=True).batch_posts(posts, threads=64, progress=False)
    result = {
        "posts": len(posts),
        "names_mner_f1": round(names(staged, posts), 1),
        "where": where(staged, posts),
        "whether": whether(staged, posts),
        "listed": listed(lm, posts),
        "load_s": round(load, 2),
        "answer_s": round(answer_seconds(GMNER(lm=lm), posts[:11]), 2),
        "end_to_end": evaluate(end_to_end, posts, progress=False).to_dict(),
        "confidence": confidence(end_to_end, posts),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
