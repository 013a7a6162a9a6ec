"""Answers photographs: those of `real_photos`, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmner.data.jsonl import write_posts, write_predictions
from gmner.data.post import Post
from gmner.data.readers.real_photos import real_photos
from gmner.data.scoring.evaluate import evaluate
from gmner.optimizers.gpu_kit.meter import Meter
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
POSTS, ANSWERS = "photos", "photos.jsonl"


def photo_posts(folder: Path | None) -> list[Post]:
    """The posts to answer.

    Args:
        folder: A folder of photographs. The text of each is its file name without suffix, with spaces in place of
            underscores: `Ada_Lovelace_in_London.jpg` becomes "Ada Lovelace in London". None: the annotated posts of
            `gmner.real_photos`.

    Raises:
        InputError: The folder does not exist or has no photograph, or the packages of `real_photos` are not installed.
    """
    if folder is None:
        return list(real_photos())
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        fact = "The folder has no photographs" if folder.is_dir() else "The folder of photographs does not exist"
        raise InputError(fact, received=str(folder), accepted=f"a folder with {', '.join(SUFFIXES)} files")
    return [Post(file.name, file.stem.replace("_", " ").strip() or file.name, file) for file in files]


def answering_photos(program: GMNER, posts: Sequence[Post], folder: Path) -> dict[str, Any]:
    """Answer posts, and write posts and answers to `folder` for `gmner view`.

    Returns:
        Number of posts, failed posts, names and boxes, time, and the F1 scores in percent if the posts are annotated.
    """
    with Meter() as whole:
        answers = program.batch_posts(posts, progress=False)
    write_posts(posts, folder / POSTS)
    write_predictions(answers, folder / ANSWERS)
    entities = [entity for answer in answers for entity in answer.entities]
    figures: dict[str, Any] = {
        "posts": len(posts), "failed": sum(answer.error is not None for answer in answers), "names": len(entities),
        "boxes": sum(entity.box is not None for entity in entities), "seconds": round(whole.seconds, 2),
    }  # fmt: skip
    if all(post.entities is not None for post in posts):
        scores = evaluate(answers, posts, progress=False)
        figures |= {"gmner_f1": round(scores.gmner.f1, 1), "mner_f1": round(scores.mner.f1, 1)}
    return figures
