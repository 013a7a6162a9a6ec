"""What the commands of `gmner` do. Models are loaded inside of the functions that need one."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli.files import (
    STANDARD,
    check_bundle_place,
    check_fetched_place,
    check_images,
    check_run_dir,
    keep_bundle_place,
    write_beside,
    write_into,
    written,
)
from gmner.cli.own_outputs import arguments_of, outputs_of
from gmner.data.files.atomic import whole_text
from gmner.data.files.outputs import OVERWRITE, check_checkpoint_place, check_inputs, exists, is_stream
from gmner.data.jsonl import record_line
from gmner.data.post import Post
from gmner.data.readers.choose import read_answers, read_dataset
from gmner.signatures.errors import GmnerError, InputError, ServerError
from gmner.signatures.terminal import printable, printable_line

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram

_NAMED = 5
_ITSELF = "A bundle says itself which program it is"


def quickstart(given: Namespace) -> None:
    """`gmner quickstart`: see `gmner.optimizers.quickstart`."""
    # This room knows nothing of optimizers: what a command needs of them is named here and loaded when it runs.
    check_run_dir(given.run_dir, [])
    importlib.import_module("gmner.optimizers.quickstart").main(given.run_dir)


def world(given: Namespace) -> None:
    """`gmner world`: posts of the synthetic world, what they are like, and a model's answers by slice."""
    from gmner.programs import world_report as report

    report.check_places(given.output, given.sheet)
    place = partial(written, overwrite=given.overwrite)
    posts = report.draw_posts(given.split, given.posts, given.seed)
    if given.output is not None:
        with place(given.output) as folder:
            report.write_folder(posts, folder)
        _note(f"{len(posts)} posts written to {given.output}")
    if given.sheet is not None:
        with place(given.sheet) as sheet:
            report.write_sheet(posts, sheet)
        _note(f"The first {len(posts[: report.SHEET_POSTS])} posts are on {given.sheet}")
    program = None if given.no_model else load_program(given.model)
    found = report.world_report(posts, given.seed, given.split, program)
    _write(json.dumps(found.to_dict(), ensure_ascii=False, indent=1) if given.json else found.summary())
    _note_failed(found.evaluation.failed if found.evaluation else {})


def fetch(given: Namespace) -> int:
    """`gmner fetch`: the pictures of posts by their addresses; 1 if none of them could be fetched."""
    from gmner.data.images.fetched_posts import fetch_posts

    check_fetched_place(given.output, given.posts, overwrite=given.overwrite)
    posts = fetch_posts(given.posts, given.output, given.images, threads=given.threads)
    _note(f"{len(posts)} posts written to {given.output}")
    for oddity in posts.oddities[:_NAMED]:
        _note(oddity.message)
    if posts.failed:
        again = "the same command tries them again"
        _note(f"{posts.failed} pictures could not be fetched (of {posts.addresses}): {again}")
    return int(0 < posts.failed == posts.addresses)


def extract(given: Namespace) -> int:
    """`gmner extract`: posts to a file of predictions; 1 if none of them could be answered."""
    from gmner.programs.corpus import extract_corpus
    from gmner.programs.failures import said

    posts = _posts(given, given.posts)[: given.limit]
    if not posts:
        raise InputError("There are no posts", received=str(given.posts))
    check_images(given.output, posts)
    if given.server is not None:
        program = _served_program(given)
    else:
        if given.served is not None:
            raise InputError("--served names a model of a server", received=given.served, remedy="Add --server URL")
        if given.model is None:
            _note("The model of this package knows only its synthetic world: name another with --model for real posts")
        program = load_program(given.model, staged=given.staged)
    program.confidence, program.answers = given.confidence, given.answers
    try:
        if given.output == STANDARD:
            predictions = program.batch_posts(posts, threads=given.threads)
            sys.stdout.writelines(printable(record_line(prediction.to_record())) + "\n" for prediction in predictions)
        else:
            images = None if given.images is None else ", ".join(str(folder.resolve()) for folder in given.images)
            predictions = extract_corpus(
                program,
                posts,
                given.output,
                threads=given.threads,
                overwrite=given.overwrite,
                arguments={"--images": images},
            )
    except (GmnerError, OSError):
        raise
    except Exception as error:
        fact = "The run stopped: neither a post nor a harmless text can be answered"
        remedy = "The answers so far are kept: run the same command again to resume"
        raise ServerError(fact, received=said(error), remedy=remedy) from error
    failed = Counter(prediction.error["kind"] for prediction in predictions if prediction.error)
    _note(f"{len(predictions)} posts answered into {given.output}")
    _note_failed(failed, "; the file says why")
    return int(sum(failed.values()) == len(predictions))


def evaluate(given: Namespace) -> None:
    """`gmner evaluate`: the scores of a file of answers, by one protocol or by all."""
    from gmner.data.scoring.score_report import score_report

    posts = _posts(given, given.gold)
    answers = read_answers(given.predictions, posts)
    if given.format == "grec":
        from gmner.data.scoring.expressions import evaluate_expressions

        scores = evaluate_expressions(answers, posts).to_dict()
        lines = [f"{name} {value}" for name, value in scores.items()]
        _write(json.dumps(scores, indent=1) if given.json else "\n".join(lines))
        return
    others = None if given.against is None else read_answers(given.against, posts)
    report = score_report(posts, answers, given.protocol, others)
    _say_ids("posts have no prediction and count as answered with nothing", report.evaluation.missing)
    _say_ids("predictions belong to no post and do not count", report.evaluation.unknown)
    _write(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) if given.json else report.summary())


def view(given: Namespace) -> None:
    """`gmner view`: a file of predictions as an HTML page."""
    from gmner.data.pages.answers_page import render_html
    from gmner.data.scoring.evaluate import evaluate as score

    posts = _posts(given, given.gold or given.posts)
    predictions = {prediction.id: prediction for prediction in read_answers(given.predictions, posts)}
    scores = {"answers": score(predictions, posts)} if given.gold else None
    shown = [(post, {"answers": predictions[post.id]}) for post in posts if post.id in predictions][: given.limit]
    if not shown:
        raise InputError("No prediction belongs to a post", received=str(given.predictions))
    missing = [post.id for post in posts if post.id not in predictions]
    counted = "count as answered with nothing" if given.gold else "are not shown"
    _say_ids(f"posts have no prediction and {counted}", missing)
    _say_ids("predictions belong to no post and are left out", sorted(predictions.keys() - {p.id for p in posts}))
    check_images(given.output, posts)
    own = arguments_of(given)
    with written(given.output, overwrite=given.overwrite, own=own) as place, whole_text(place) as file:
        file.write(render_html(shown, title=given.predictions.name, scores=scores))
    _note(f"{len(shown)} posts shown in {given.output}")


def export(given: Namespace) -> None:
    """`gmner export`: posts, and answers where there are some, in the form of another tool."""
    from gmner.data.export.write import write_export

    posts = _posts(given, given.gold)
    answers = None
    if given.predictions is not None:
        known = {post.id for post in posts}
        found = read_answers(given.predictions, posts)
        answers = [answer for answer in found if answer.id in known]
        _say_ids("predictions belong to no post and are left out", [a.id for a in found if a.id not in known])
        unsure = sum(e.box is not None and e.confidence is None for answer in answers for e in answer.entities)
        if given.to == "coco" and unsure:
            _note(f"{unsure} boxes have no confidence: their score is 1.0 (gmner extract --confidence gives them one)")
    if given.to == "voc" and given.output == STANDARD:
        raise InputError("Pascal VOC is a folder", received="-", accepted="a path with -o")
    _write_export(given, posts, partial(write_export, given.to, posts, answers, split=given.split))
    _note(f"{len(posts)} posts written to {given.output}")


def _write_export(given: Namespace, posts: Sequence[Post], write: Callable[[Path], None]) -> None:
    """Write an export where it may be written."""
    check_images(given.output, posts)
    if given.to == "voc":
        write_into(given.output, write, overwrite=given.overwrite)
    elif given.to == "label-studio" and given.output != STANDARD and not is_stream(given.output):
        outputs = outputs_of(given)
        check_inputs(outputs[1], [path for path in (given.gold, given.predictions) if path is not None], own=True)
        check_images(outputs[1], posts)
        write_beside(outputs, write, overwrite=given.overwrite, own=arguments_of(given))
    else:
        with written(given.output, overwrite=given.overwrite, own=arguments_of(given)) as place:
            write(place)


def merge(given: Namespace) -> None:
    """`gmner merge`: a bundle's weights as one checkpoint."""
    from gmner.programs.bundle import load

    check_checkpoint_place(given.output, overwrite=given.overwrite)
    load(given.bundle).save_merged(given.output, overwrite=given.overwrite)
    _note(f"The weights are in {given.output}: vllm serve {given.output}")


def check(given: Namespace) -> int:
    """`gmner check`: what a compile would refuse of annotated posts, and what is odd in their files."""
    from gmner.programs.gold_check import check_posts
    from gmner.signatures.labels import COARSE, as_labels

    posts = read_dataset(given.posts, given.split, given.images, format=given.format, instances=given.instances)
    names = None if given.labels is None else [name.strip() for name in given.labels.split(",")]
    report = check_posts(posts, COARSE if names is None else as_labels(names))
    if given.json:
        oddities = [{"kind": o.kind, "where": o.where, "message": o.message} for o in posts.oddities]
        _write(json.dumps({**report.to_dict(), "oddities": oddities}, ensure_ascii=False, indent=1))
    else:
        _write(f"{posts.report()}\n{report.summary(each=20)}")
    return 1 if report.faults else 0


def compile(given: Namespace) -> int:
    """`gmner compile`: MCR on annotated posts, the result saved as a bundle."""
    from gmner.programs.bundle import check_place

    check_place(given.output)
    check_run_dir(given.run_dir, [given.train, *([] if given.val is None else [given.val])])
    check_bundle_place(given.output, given.run_dir, overwrite=given.overwrite)
    train = _trainable(given, given.train, given.train_split)
    val = _trainable(given, given.val, given.val_split) if given.val else None
    program = load_program(given.model)
    optimizer = importlib.import_module("gmner.optimizers.presets").preset(given.preset)
    if given.max_minutes is not None:
        optimizer.max_minutes = given.max_minutes
    optimizer.leave_out_invalid = given.leave_out_invalid
    options = {"trainset": train, "valset": val, "optimizer": optimizer, "run_dir": given.run_dir}
    if given.dry_run:
        program.compile(**options, dry_run=True)
        return 0
    compiled = program.compile(**options)
    compiled.save(given.output)
    keep_bundle_place(given.output, given.run_dir)
    for fall in compiled.history.fallen.values():
        _note(f"Warning: {fall}")
    if compiled.history.unchanged:
        _note(f"NOTHING WAS LEARNED: {given.output} holds the program that the compile began with")
        _note(f"The reason: {compiled.history.unchanged}")
        return 3
    _note(f"The compiled program is in {given.output}: gmner extract POSTS --model {given.output} -o PRED.jsonl")
    return 0


def run(given: Namespace) -> None:
    """`gmner run`: the page of a compile, from its run directory."""
    page = importlib.import_module("gmner.optimizers.run_page")
    output = given.run_dir / page.RUN_PAGE if given.output is None else given.output
    free = given.overwrite or is_stream(output) or not exists(output)
    if not free and not (output.is_file() and page.is_run_page(output, given.run_dir)):
        raise InputError("The output exists already", received=str(output), remedy=OVERWRITE)
    _note(f"The page: {page.write_run_page(given.run_dir, output)}")


def _trainable(given: Namespace, path: Path, split: str | None) -> list[Post]:
    """Annotated posts, with `--with-pictures` only those whose picture is there; how many were left out is said."""
    posts = _posts(given, path, split)
    kept = [post for post in posts if not given.with_pictures or _pictured(post)]
    if len(kept) < len(posts):
        _note(f"{len(posts) - len(kept)} of {len(posts)} posts of {path} have no picture and are left out")
    return kept


def _pictured(post: Post) -> bool:
    return post.image is not None and (not isinstance(post.image, Path) or post.image.is_file())


def _posts(given: Namespace, path: Path, split: str | None = None) -> list[Post]:
    """The posts of a path that a command was given."""
    return read_dataset(
        path,
        getattr(given, "split", None) if split is None else split,
        given.images,
        format=given.format,
        instances=given.instances,
    )


def _served_program(given: Namespace) -> GroundingProgram:
    """A program on a server; with --model the instructions and demonstrations of a bundle."""
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.served import served_lm
    from gmner.programs.staged import StagedGMNER

    if given.model is not None and not is_bundle(given.model):
        remedy = "Name what the server calls its model with --served"
        raise InputError("With --server a --model is a bundle", received=given.model, remedy=remedy)
    lm, profile = served_lm(given.server, given.served, num_retries=3)
    if given.model is None:
        name = lm.model.partition("/")[2]
        _note(f"{given.server} answers with {name}; its boxes are read as {profile.box_format.describe()}")
        return (StagedGMNER if given.staged else GMNER)(lm, profile=profile)
    if given.staged:
        raise InputError(_ITSELF, received=given.model, remedy="Leave --staged out")
    return load(given.model, lm=lm)


def load_program(model: str | None, *, staged: bool = False) -> GroundingProgram:
    """A program from a model (folder, hub id, None: the embedded one) or from a bundle.

    Raises:
        InputError: `staged` with a bundle, which says itself what it is.
        GmnerError: See `gmner.load_vlm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.models.loading import load_vlm
    from gmner.programs.staged import StagedGMNER

    if model is not None and is_bundle(model):
        if staged:
            raise InputError(_ITSELF, received=model, remedy="Leave --staged out")
        return load(model)
    return (StagedGMNER if staged else GMNER)(load_vlm(model))


def _note_failed(failed: Mapping[str, int], where: str = "") -> None:
    if failed:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(failed.items()))
        _note(f"{sum(failed.values())} of them without an answer: {kinds}{where}")


def _say_ids(what: str, ids: Sequence[str]) -> None:
    if ids:
        named = ", ".join(ids[:_NAMED])
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        _note(f"{len(ids)} {what}: {named}{more}")


def _write(text: str) -> None:
    sys.stdout.write(printable(text) + "\n")


def _note(text: str) -> None:
    sys.stderr.write(printable_line(text) + "\n")
