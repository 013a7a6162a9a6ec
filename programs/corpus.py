"""Answering many posts: progress, errors recorded by post, and a file that goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from gmner.data.jsonl import Prediction, read_predictions
from gmner.data.post import Post
from gmner.signatures.errors import GmnerError, InputError

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram


def answer_post(program: GroundingProgram, post: Post) -> Prediction:
    """Answer one post; an error becomes part of the prediction instead of being raised.

    Only errors that belong to the post are recorded: a `GmnerError`, wherever in the chain of causes DSPy put it.
    Everything else is a defect or a failed server and stops the run.
    """
    try:
        answer = program(text=post.text, image=post.image)
    except Exception as error:
        known = own_error(error)
        if known is None:
            raise
        return Prediction(post.id, post.text, "", (), {"kind": known.kind, "message": str(known)})
    return Prediction(post.id, post.text, answer.reasoning, tuple(answer.entities), None)


def own_error(error: BaseException | None) -> GmnerError | None:
    """The `GmnerError` in an exception's chain of causes, or None."""
    while error is not None:
        if isinstance(error, GmnerError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _answers(program: GroundingProgram, posts: Sequence[Post], threads: int, progress: bool) -> Iterator[Prediction]:
    """Predictions in the order of `posts`, `threads` posts at a time."""
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(copy_context().run, answer_post, program, post) for post in posts]
        try:
            for future in tqdm(futures, desc="posts", unit="post", disable=not progress or len(posts) < 4):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def answer_posts(
    program: GroundingProgram, posts: Sequence[Post], *, threads: int = 16, progress: bool = True
) -> list[Prediction]:
    """Answer many posts at once.

    Args:
        program: The program.
        posts: The posts; annotations are not looked at.
        threads: Posts under way at once; the local engine makes batches of them.
        progress: Show a progress bar.

    Returns:
        One prediction a post, in order; see `answer_post` for errors.
    """
    return list(_answers(program, posts, threads, progress))


def extract_corpus(
    program: GroundingProgram, posts: Sequence[Post], out: Path, *, threads: int = 16, progress: bool = True
) -> list[Prediction]:
    """Answer many posts into a JSONL file that appears when it is whole.

    Answers are appended to `<out>.part` as they come; a run that was stopped goes on behind the last of them.

    Args:
        program: The program.
        posts: The posts, ids unique.
        out: The file; one prediction a line, see `Prediction`.
        threads: Posts under way at once.
        progress: Show a progress bar.

    Raises:
        InputError: Two posts share an id, or `<out>.part` holds answers to other posts.
    """
    ids = [post.id for post in posts]
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise InputError("Two posts share an id", received=twice, remedy="Give every post an id of its own")
    part = out.with_name(out.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    done = _resume(part)
    texts = {post.id: post.text for post in posts}
    if any(texts.get(prediction.id) != prediction.text for prediction in done):
        raise InputError("A stopped run of other posts lies here", received=str(part), remedy="Delete it to start anew")
    known = {prediction.id for prediction in done}
    with part.open("a", encoding="utf-8") as file:
        for prediction in _answers(program, [p for p in posts if p.id not in known], threads, progress):
            file.write(json.dumps(prediction.to_record(), ensure_ascii=False) + "\n")
            file.flush()
            done.append(prediction)
    os.replace(part, out)
    order = {post_id: place for place, post_id in enumerate(ids)}
    return sorted(done, key=lambda prediction: order[prediction.id])


def _resume(part: Path) -> list[Prediction]:
    """The whole lines of an unfinished file; a line cut by a kill is dropped from the file."""
    if not part.exists():
        return []
    data = part.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        part.write_bytes(whole)
    return read_predictions(part)
