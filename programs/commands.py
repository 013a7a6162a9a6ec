"""What the commands of `gmner` do. Models are loaded inside of the functions that need one."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.data.jsonl import read_posts, read_predictions
from gmner.data.post import Post
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram

_NAMED = 5


def quickstart(given: Namespace) -> None:
    """`gmner quickstart`: see `gmner.optimizers.quickstart`."""
    # This room knows nothing of optimizers: what a command needs of them is named here and loaded when it runs.
    importlib.import_module("gmner.optimizers.quickstart").main(given.run_dir)


def extract(given: Namespace) -> None:
    """`gmner extract`: posts to a file of predictions."""
    from gmner.programs.corpus import extract_corpus

    posts = load_posts(given.posts, given.split, given.images)[: given.limit]
    if not posts:
        raise InputError("There are no posts", received=str(given.posts))
    if given.model is None:
        _note("The model of this package knows only its synthetic world: name another with --model for real posts")
    program = load_program(given.model, staged=given.staged)
    predictions = extract_corpus(program, posts, given.output, threads=given.threads)
    failed = Counter(prediction.error["kind"] for prediction in predictions if prediction.error)
    _note(f"{len(predictions)} posts answered into {given.output}")
    if failed:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(failed.items()))
        _note(f"{failed.total()} of them without an answer: {kinds}; the file says why")


def evaluate(given: Namespace) -> None:
    """`gmner evaluate`: the scores of a file of predictions."""
    from gmner.data.evaluate import evaluate as score

    posts = load_posts(given.gold, given.split, given.images)
    evaluation = score(read_predictions(given.predictions), posts, given.protocol)
    _say_ids("posts have no prediction and count as answered with nothing", evaluation.missing)
    _say_ids("predictions belong to no post and do not count", evaluation.unknown)
    record = evaluation.to_dict()
    _write(json.dumps(record, ensure_ascii=False, indent=1) if given.json else evaluation.summary())


def view(given: Namespace) -> None:
    """`gmner view`: a file of predictions as an HTML page."""
    from gmner.data.evaluate import evaluate as score
    from gmner.data.view import render_html

    posts = load_posts(given.gold or given.posts, given.split, given.images)
    predictions = {prediction.id: prediction for prediction in read_predictions(given.predictions)}
    scores = {"answers": score(predictions, posts)} if given.gold else None
    shown = [(post, {"answers": predictions[post.id]}) for post in posts if post.id in predictions][: given.limit]
    if not shown:
        raise InputError("No prediction belongs to a post", received=str(given.predictions))
    page = render_html(shown, title=given.predictions.name, scores=scores)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(page, encoding="utf-8")
    _note(f"{len(shown)} posts shown in {given.output}")


def compile(given: Namespace) -> None:
    """`gmner compile`: MCR on annotated posts, the result saved as a bundle."""
    train = load_posts(given.train, given.train_split, given.images)
    val = load_posts(given.val, given.val_split, given.images) if given.val else None
    program = load_program(given.model)
    optimizer = importlib.import_module("gmner.optimizers.mcr").MCR()
    compiled = program.compile(trainset=train, valset=val, optimizer=optimizer, run_dir=given.run_dir)
    compiled.save(given.output)
    _note(f"The compiled program is in {given.output}: gmner extract POSTS --model {given.output} -o PRED.jsonl")


def load_posts(path: Path, split: str | None, images: Path | None) -> list[Post]:
    """Posts of a JSONL file, of a folder that holds `posts.jsonl`, or of a split of a Twitter-GMNER folder.

    Args:
        path: The file or the folder.
        split: Split of a Twitter-GMNER folder; a JSONL file has none.
        images: Folder of the pictures; None: the one that belongs to `path`.

    Raises:
        InputError: Nothing there, or a Twitter-GMNER folder without a split.
        DataError: A file that does not follow its format.
    """
    if not path.exists():
        raise InputError("There are no posts", received=str(path), accepted="a JSONL file or a Twitter-GMNER folder")
    if not path.is_dir() or (path / "posts.jsonl").is_file():
        return read_posts(path, images)
    return read_twitter_gmner(path, split or "", images)


def load_program(model: str | None, *, staged: bool = False) -> GroundingProgram:
    """A program from a model (folder, hub id, None: the embedded one) or from a bundle.

    Raises:
        InputError: `staged` with a bundle, which says itself what it is.
        GmnerError: See `gmner.load_vlm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.loading import load_vlm
    from gmner.programs.staged import StagedGMNER

    if model is not None and is_bundle(model):
        if staged:
            raise InputError("A bundle says itself which program it is", received=model, remedy="Leave --staged out")
        return load(model)
    return (StagedGMNER if staged else GMNER)(load_vlm(model))


def _say_ids(what: str, ids: Sequence[str]) -> None:
    if ids:
        named = ", ".join(ids[:_NAMED])
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        _note(f"{len(ids)} {what}: {named}{more}")


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
