"""Answering many posts: progress, errors recorded by post, and a file that goes on where it was."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path

import dspy
from tqdm import tqdm

from gmner.data.files.outputs import is_stream
from gmner.data.images.opening import image_size
from gmner.data.jsonl import write_predictions
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.programs.answering import AnsweringProgram
from gmner.programs.corpus_file import CorpusFile
from gmner.programs.engine.batching import ending_with
from gmner.programs.failures import failure_of_post
from gmner.programs.local_engine import batching_engine
from gmner.programs.models.families import ModelProfile
from gmner.programs.state import state_digest
from gmner.signatures.errors import ImageError, InputError

LOG = logging.getLogger(__name__)

_SERVED = 16
_LETTERS = 4  # about so many to a token


def answer_post(program: AnsweringProgram, post: Post) -> Prediction:
    """Answer one post; an error that belongs to the post becomes part of the prediction.

    Raises:
        Exception: What the call raised, where the program answers nothing else either; see
            `gmner.programs.failures.failure_of_post`.
    """
    try:
        answer = program(text=post.text, image=post.image)
        prediction = Prediction(post.id, post.text, answer.reasoning, tuple(answer.entities))
        Prediction.from_record(replace(prediction, id="").to_record())  # what is kept can be read again
    except Exception as error:
        known = failure_of_post(program, error)
        if known is None:
            raise
        return Prediction.failed(post.id, post.text, known)
    return prediction


def _answers(
    program: AnsweringProgram, posts: Sequence[Post], threads: int | None, progress: bool
) -> Iterator[Prediction]:
    """Predictions in the order of `posts`, `threads` posts at a time.

    DSPy's history would keep the last ten thousand calls with their pictures, so it is not written. A run that is
    stopped cancels what the local engine has begun.
    """
    end = threading.Event()
    with dspy.context(disable_history=True), ThreadPoolExecutor(threads or _enough(program)) as pool:
        with ending_with(end):
            futures = [pool.submit(copy_context().run, answer_post, program, post) for post in posts]
        try:
            for future in tqdm(futures, desc="posts", unit="post", disable=not progress or len(posts) < 4):
                yield future.result()
        finally:
            end.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _enough(program: AnsweringProgram) -> int:
    """Posts under way: while the engine answers a batch, the next ones are made ready."""
    engine = batching_engine(program.model)
    return _SERVED if engine is None else 3 * engine.max_batch


def _order(program: AnsweringProgram, posts: Sequence[Post]) -> list[int]:
    """The places of the posts; long ones first where an engine answers several at once, in rows of one width."""
    if batching_engine(program.model) is None:
        return list(range(len(posts)))
    profile = program.adapter().profile
    lengths = [len(post.text) / _LETTERS + _picture_tokens(post, profile, program.image_root) for post in posts]
    return sorted(range(len(posts)), key=lambda place: -lengths[place])


def _picture_tokens(post: Post, profile: ModelProfile, root: Path | None) -> float:
    """About how many tokens the picture of a post takes, where that depends on its size."""
    if post.image is None or profile.rule is None:
        return 0.0
    try:
        width, height = profile.rule(image_size(post.image, root=root))
    except ImageError:  # it has its place among the answers, as an error of the post
        return 0.0
    return width * height / profile.rule.factor**2


def answer_posts(
    program: AnsweringProgram, posts: Sequence[Post], *, threads: int | None = None, progress: bool = True
) -> Predictions:
    """Answer many posts at once; the local engine makes batches of them, long posts first, so that like meets like.

    Args:
        program: The program.
        posts: The posts; annotations are not looked at.
        threads: Posts under way at once; None: enough for full batches of the local engine, 16 for a served model.
        progress: Show a progress bar.

    Returns:
        One prediction a post, in order; see `answer_post` for errors.
    """
    order = _order(program, posts)
    found = dict(zip(order, _answers(program, [posts[place] for place in order], threads, progress), strict=True))
    return Predictions((found[place] for place in range(len(posts))), posts)


def extract_corpus(
    program: AnsweringProgram,
    posts: Sequence[Post],
    out: Path,
    *,
    threads: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    arguments: Mapping[str, str | None] | None = None,
) -> Predictions:
    """Answer many posts into a JSONL file that appears when it is whole.

    Answers are kept in `<out>.part` as they come; the same call resumes a run that was stopped after its last saved
    answer. Posts that failed before are tried again, and so are posts whose image has changed; an answer stays where
    the image is missing now. `<out>.run.json` keeps what a finished file is a result of. A device or a pipe gets the
    answers at the end, and such a run cannot be resumed.

    Args:
        program: The program.
        posts: The posts, ids unique.
        out: The file; one prediction a line in the order of `posts`, see `Prediction`.
        threads: Posts under way at once; see `answer_posts`.
        progress: Show a progress bar.
        overwrite: Whether a file, or a stopped run, that is not of this program and these posts may be replaced.
        arguments: Arguments that may differ when a run is resumed, by name, such as the folder of the images; a
            difference is logged.

    Returns:
        The predictions, in the order of `posts`.

    Raises:
        InputError: Two posts share an id, `out` is a folder or an image of a post, another process writes it, or what
            lies there is not of this run.
    """
    if out.is_dir():
        raise InputError("The answers would be written over a folder", received=str(out), accepted="the path of a file")
    ids = [post.id for post in posts]
    if len(set(ids)) != len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise InputError("Two posts share an id", received=twice, remedy="Give every post an id of its own")
    if is_stream(out):
        answers = answer_posts(program, posts, threads=threads, progress=progress)
        write_predictions(answers, out)
        return answers
    kept = CorpusFile(out, _run_of(program), posts, program.image_root, overwrite=overwrite, arguments=arguments)
    with kept.opened() as file:
        for note in file.notes:
            LOG.warning("%s: %s", out, note)
        left = [posts[place] for place in _order(program, posts) if ids[place] not in file.done]
        answered = dict(file.done)
        for prediction in _answers(program, left, threads, progress):
            file.append(prediction)
            answered[prediction.id] = prediction
        found = Predictions((answered[post_id] for post_id in ids), posts)
        file.finish(found)
    return found


def _run_of(program: AnsweringProgram) -> dict[str, str]:
    """What the answers of a run depend on beside the posts."""
    labels, limits = program.labels.describe(), str(program.limits)
    return {
        "program": type(program).__name__,
        "model": program.model.model,
        "labels": labels,
        "limits": limits,
        "state": state_digest(program),
        "confidence": str(program.confidence),
        "answers": f"{program.answers} at {program.temperature}" if program.answers > 1 else "1",
    }
