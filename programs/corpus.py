"""Prediction for many posts: progress, errors recorded per post, and an output file that can be resumed."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
from tqdm import tqdm

from gmner.data.files.outputs import is_stream
from gmner.data.images.opening import image_size
from gmner.data.jsonl import write_predictions
from gmner.data.pictures import first_pictures
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.programs.adapter import greedy
from gmner.programs.answering import AnsweringProgram
from gmner.programs.corpus_file import CorpusFile
from gmner.programs.engine.batching import ending_with
from gmner.programs.failures import failure_of_post
from gmner.programs.local_engine import batching_engine
from gmner.programs.models.families import ModelProfile
from gmner.programs.state import state_digest
from gmner.signatures.errors import ImageError, InputError

LOG = logging.getLogger(__name__)

_SAMPLING = ("temperature", "top_p", "top_k", "seed", "reasoning_effort")
# Settings of an LM that change its answers. A run may be resumed with another `max_tokens`, which cut answers need.
_SERVED = 16
_CHARACTERS_PER_TOKEN = 4


def answer_post(program: AnsweringProgram, post: Post) -> Prediction:
    """Predict the entities of one post; an error that belongs to the post is recorded in the prediction.

    Raises:
        Exception: What the call raised, if the program cannot answer any other post either; see
            `gmner.programs.failures.failure_of_post`.
    """
    try:
        answer = program(text=post.text, **_images(post))
        prediction = Prediction(post.id, post.text, answer.reasoning, tuple(answer.entities), thinking=answer.thinking)
        Prediction.from_record(replace(prediction, id="").to_record())  # check that the record can be read back
    except Exception as error:
        known = failure_of_post(program, error)
        if known is None:
            raise
        return Prediction.failed(post.id, post.text, known)
    return prediction


def _images(post: Post) -> dict[str, Any]:
    """The images of a post as an argument of a program: `image`, or `images` if there are several."""
    return {"images": post.images} if len(post.images) > 1 else {"image": post.images[0] if post.images else None}


def _answers(
    program: AnsweringProgram, posts: Sequence[Post], threads: int | None, progress: bool
) -> Iterator[Prediction]:
    """Predictions in the order of `posts`, for `threads` posts at a time.

    DSPy's history is disabled, because it would hold the last ten thousand calls with their images. Stopping the run
    cancels the requests that the local engine is processing.
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
    """Number of posts to process at once: while the engine generates a batch, the next ones are prepared."""
    engine = batching_engine(program.model)
    return _SERVED if engine is None else 3 * engine.max_batch


def _order(program: AnsweringProgram, posts: Sequence[Post]) -> list[int]:
    """The indices of the posts, long posts first if the engine makes batches, whose rows are padded to one length."""
    if batching_engine(program.model) is None:
        return list(range(len(posts)))
    profile = program.adapter().profile
    root = program.image_root
    lengths = [len(post.text) / _CHARACTERS_PER_TOKEN + _image_tokens(post, profile, root) for post in posts]
    return sorted(range(len(posts)), key=lambda place: -lengths[place])


def _image_tokens(post: Post, profile: ModelProfile, root: Path | None) -> float:
    """Estimated number of tokens of the images of a post; 0 if it does not depend on the image sizes."""
    if profile.rule is None:
        return 0.0
    try:
        sizes = [profile.rule(image_size(image, root=root)) for image in post.images]
    except ImageError:  # recorded as an error of the post when it is processed
        return 0.0
    return sum(width * height for width, height in sizes) / profile.rule.factor**2


def answer_posts(
    program: AnsweringProgram, posts: Sequence[Post], *, threads: int | None = None, progress: bool = True
) -> Predictions:
    """Predict the entities of many posts; the local engine processes them in batches, long posts first.

    Args:
        program: The program.
        posts: The posts; annotations are ignored.
        threads: Number of posts processed at once; None: enough for full batches of the local engine, 16 for a served
            model.
        progress: Show a progress bar.

    Returns:
        One prediction per post, in order; see `answer_post` for errors.
    """
    order, used = _order(program, posts), first_pictures(posts, program.limit_pictures)
    by_index = dict(zip(order, _answers(program, [used[index] for index in order], threads, progress), strict=True))
    return Predictions((by_index[index] for index in range(len(posts))), posts)


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
    """Predict the entities of many posts and write a JSONL file, which appears once it is complete.

    Predictions are saved to `<out>.part` as they are made; calling the function again resumes a stopped run. Posts that
    failed and posts whose image has changed are processed again; a prediction is kept if its image is missing now.
    `<out>.run.json` records the arguments of a finished run. If `out` is a device or a pipe, predictions are written at
    the end, and the run cannot be resumed.

    Args:
        program: The program.
        posts: The posts, with unique ids.
        out: The file; one prediction per line in the order of `posts`, see `Prediction`.
        threads: Number of posts processed at once; see `answer_posts`.
        progress: Show a progress bar.
        overwrite: Whether to replace a file or a stopped run of another program or of other posts.
        arguments: Arguments that may differ when a run is resumed, by name, such as the image folder; differences are
            logged.

    Returns:
        The predictions, in the order of `posts`.

    Raises:
        InputError: Two posts share an id; `out` is a folder, or another process writes to it; or it belongs to another
            run.
    """
    if out.is_dir():
        raise InputError("The output is a folder", received=str(out), accepted="the path of a file")
    ids = [post.id for post in posts]
    if len(set(ids)) != len(ids):
        duplicate = next(post_id for post_id, count in Counter(ids).items() if count > 1)
        raise InputError("Two posts have the same id", received=duplicate, remedy="Give every post a unique id")
    if is_stream(out):
        answers = answer_posts(program, posts, threads=threads, progress=progress)
        write_predictions(answers, out)
        return answers
    corpus_file = CorpusFile(out, _run_of(program), posts, program.image_root, overwrite=overwrite, arguments=arguments)
    with corpus_file.opened() as file:
        for note in file.notes:
            LOG.warning("%s: %s", out, note)
        used = first_pictures(posts, program.limit_pictures)
        remaining = [used[index] for index in _order(program, posts) if ids[index] not in file.done]
        by_id = dict(file.done)
        for prediction in _answers(program, remaining, threads, progress):
            file.append(prediction)
            by_id[prediction.id] = prediction
        predictions = Predictions((by_id[post_id] for post_id in ids), posts)
        file.finish(predictions)
    return predictions


def _run_of(program: AnsweringProgram) -> dict[str, str]:
    """The settings that determine the predictions of a run, apart from the posts."""
    labels, limits = program.labels.describe(), str(program.limits)
    lm = program.model
    settings = {**lm.kwargs, **greedy(lm)}
    # Of a model on a server; the model string of a local one contains it.
    thinking = (settings.get("extra_body") or {}).get("chat_template_kwargs")
    return {
        "program": type(program).__name__,
        "model": lm.model,
        "labels": labels,
        "limits": limits,
        "profile": json.dumps(program.adapter().profile.as_data()),
        "state": state_digest(program),
        "confidence": str(program.confidence),
        "answers": f"{program.answers} at {program.temperature}" if program.answers > 1 else "1",
        "limit_pictures": str(program.limit_pictures),
        "thinking": json.dumps(thinking, sort_keys=True),
        "sampling": ", ".join(f"{name}={settings[name]}" for name in _SAMPLING if settings.get(name) is not None),
    }
