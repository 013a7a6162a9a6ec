"""`probe`: asks a model for boxes of things in known places, and says which coordinate convention explains them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import dspy
from tqdm import tqdm

from gmner.data.post import Post
from gmner.programs.local_engine import in_process_engine, profiled_engine
from gmner.programs.models.families import ModelProfile
from gmner.programs.models.families.registry import family_served_as
from gmner.programs.models.probe.asking import Asker, Malformed, Tally
from gmner.programs.models.probe.conventions import Convention, candidates, in_force
from gmner.programs.models.probe.drawing import draw, sizes_for
from gmner.programs.models.probe.judging import LEAST_BOXES, Answered, Judgement, beats, call, fit, judge
from gmner.programs.models.probe.questions import Question, questions_of
from gmner.programs.models.probe.reading import Numbers
from gmner.programs.models.probe.report import Costs, NotShown, ProbeReport, State
from gmner.programs.peak_memory import process_peak
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.number_checks import check_integer

FREE_TOKENS = 768
"""Token limit of an answer in free text, unless the LM sets its own."""

PROBE = "probe"
"""`load_vlm(profile=PROBE)`, `served_lm(profile=PROBE)`: find out how the model writes boxes."""


class NoProfile:
    """The type of `NO_PROFILE`."""

    def __repr__(self) -> str:
        """The name of its only value."""
        return "NO_PROFILE"


NO_PROFILE = NoProfile()
"""`probe(profile=NO_PROFILE)`: no profile is in force, so that none can agree or be contradicted."""

_LOG = logging.getLogger(__name__)
_MOST_FRAMED = 24
_ALWAYS_FRAMED = (BoxFormat("normalized", 1000, "yxyx"),)


@dataclass(frozen=True, slots=True)
class _Set:
    """The questions of a probe.

    Attributes:
        free: About things that are shown, in free text.
        framed: About things that are shown, in each convention.
        absent: About things that are not shown.
    """

    free: tuple[Question, ...]
    framed: tuple[Question, ...]
    absent: tuple[Question, ...]


def probe(
    lm: dspy.BaseLM,
    *,
    profile: ModelProfile | NoProfile | None = None,
    posts: Sequence[Post] | None = None,
    seed: int = 0,
    max_tokens: int = FREE_TOKENS,
    threads: int | None = None,
    progress: bool = True,
) -> ProbeReport:
    """Find out in which coordinate convention a model writes boxes.

    Draws a dozen images with shapes in known places, in sizes that separate the conventions, and asks for their boxes:
    in free text without naming a convention, and, as programs ask, with the instructions and the schema of each
    convention. A convention is called only if it explains the boxes clearly better than chance and than every other
    one; the rule is that of `gmner.programs.models.probe.judging.call`. About 140 calls.

    Args:
        lm: A local model (`gmner.load_vlm`) or a model on a server.
        profile: The profile in force; None: that of a local model, or of the family that the name on a server implies.
            `NO_PROFILE`: there is none.
        posts: Annotated posts. With them, the probe asks for their entities, and draws nothing: for a model that only
            knows one kind of image.
        seed: Seed of the drawn images.
        max_tokens: Token limit of an answer in free text, unless the LM sets its own. A thinking model needs more.
        threads: Number of calls at a time; None: twice the batch of a local model, or 16 on a server.
        progress: Show a progress bar.

    Raises:
        InputError: `lm` is not an LM, a number is not positive, or fewer than 8 entities of the posts have a box.
        ImageError: An image of the posts cannot be opened.
        ServerError: The model fails on every question.

    Example:
        >>> report = probe(load_vlm("Qwen/Qwen2.5-VL-7B-Instruct"))  # doctest: +SKIP
        >>> report.state, report.called.title  # doctest: +SKIP
        ('agrees', 'pixels after resize xyxy')

    Source: our own; the conventions are those that the model families publish.
    """
    if not isinstance(lm, dspy.BaseLM):
        raise InputError("lm must be a model", received=lm, accepted="gmner.load_vlm(...), or another dspy.LM")
    check_integer("max_tokens", max_tokens)
    check_integer("threads", threads, optional=True)
    given: object = _profile_in_force(lm) if profile is None else profile
    if not isinstance(given, ModelProfile | NoProfile | None):
        accepted = "a ModelProfile, NO_PROFILE, or None"
        raise InputError("profile must be a ModelProfile", received=profile, accepted=accepted)
    known = given if isinstance(given, ModelProfile) else None
    asked = _question_set(known, posts, seed)
    conventions = candidates(known, local=in_process_engine(lm) is not None)
    total = len(asked.free) + len(asked.absent) + len(_frames(conventions)) * len(asked.framed) + 1
    _reset_memory(lm)
    with tqdm(total=total, desc="probe", unit="call", disable=not progress) as bar:
        asker = Asker(lm, known or ModelProfile(), max_tokens, threads, bar)
        return _run(asker, asked, lm, known, conventions)


def profile_by_probe(lm: dspy.BaseLM, known: ModelProfile | None) -> ModelProfile:
    """The profile that a probe finds, for a program that is about to use it; a contradiction is logged.

    Args:
        lm: The model.
        known: The profile in force; None: there is none.

    Raises:
        InputError: The convention cannot be told.
        ServerError: The model fails on every question.
    """
    report = probe(lm, profile=known or NO_PROFILE)
    if report.state == "contradicted":
        _LOG.warning("The probe contradicts the profile of the model:\n%s", report.summary())
    return report.found_profile()


def _question_set(profile: ModelProfile | None, posts: Sequence[Post] | None, seed: int) -> _Set:
    if posts is not None:
        questions = questions_of(posts)
        shown = tuple(question for question in questions if question.boxes)
        if len(shown) < LEAST_BOXES:
            fact = "Too few entities of the posts have a box in an image to tell a convention"
            raise InputError(fact, received=len(shown), accepted=f"at least {LEAST_BOXES}", remedy="Pass more posts")
        return _Set(shown, shown[:_MOST_FRAMED], tuple(question for question in questions if not question.boxes))
    drawings = draw(sizes_for(None if profile is None else profile.rule), seed)
    shown = tuple(question for drawing in drawings for question in drawing.shown)
    return _Set(shown, tuple(drawing.shown[0] for drawing in drawings), tuple(drawing.absent for drawing in drawings))


def _frames(conventions: Sequence[Convention]) -> list[Convention]:
    """The conventions in which a probe asks: that of the profile, those with xyxy, and 0..1000 yxyx."""
    first, *rest = conventions
    return [first, *(c for c in rest if c.box_format.order == "xyxy" or c.box_format in _ALWAYS_FRAMED)]


def _profile_in_force(lm: dspy.BaseLM) -> ModelProfile | None:
    """The profile that a program would use; None: the family of a model on a server is not recognised."""
    engine = profiled_engine(lm)
    if engine is not None:
        return engine.profile
    family = family_served_as(lm.model)
    if family is None or family.refused:
        return None
    return ModelProfile(family.box_format, rule=family.default_resize, max_pictures=family.max_pictures)


def _run(
    asker: Asker, asked: _Set, lm: dspy.BaseLM, profile: ModelProfile | None, conventions: Sequence[Convention]
) -> ProbeReport:
    """Ask everything, and judge the answers."""
    enforced = asker.enforces_schema(asked.free[0])
    spoken = asker.free(asked.free)
    free = judge(Answered(asked.free, tuple(spoken)), conventions)
    framed = {convention: asker.framed(asked.framed, convention) for convention in _frames(conventions)}
    written = {c: _as_written(c, boxes, asked.framed) for c, boxes in framed.items()}
    judged = call([fit(c, answered) for c, answered in written.items()], asked.framed)
    followed = [c for c, answered in written.items() if judge(answered, conventions).called == c]
    own = in_force(profile)
    state, called, reason = decide(own, free, judged, asked.framed, followed)
    tokens = _location_tokens(asker.tally, asked.free)
    if called is None and tokens:
        reason = f"{tokens}, which are not supported"
    usual = own or called or conventions[0]
    if usual not in framed:
        framed[usual] = asker.framed(asked.framed, usual)
    absent = asker.framed(asked.absent, usual) if asked.absent else []
    not_shown = NotShown(len(absent), absent.count(None), len(asked.framed), framed[usual].count(None))
    remarks = tuple(_remarks(asker.tally, profile, own, free, called, "" if called is None else tokens))
    costs = _costs(lm, asker)
    return ProbeReport(lm.model, profile, state, called, free, judged, reason, not_shown, enforced, costs, remarks)


def decide(
    own: Convention | None,
    free: Judgement,
    framed: Judgement,
    questions: Sequence[Question],
    followed: Collection[Convention],
) -> tuple[State, Convention | None, str]:
    """Whether the convention in force agrees with the answers, and which convention is called.

    Answers in free text decide. Where they call no convention, answers to prompts that require a convention decide. A
    model that writes another convention in free text, but follows the one in force when the prompt requires it, as well
    as it follows its own, agrees. A convention is followed if the answers that it was required of fit it, and no other.

    Args:
        own: The convention in force; None: there is none.
        free: Judgement of the answers in free text.
        framed: Judgement of the answers to prompts that require a convention, each read in it.
        questions: The questions of `framed`.
        followed: The conventions that are called for the answers to prompts that require them.

    Returns:
        State, called convention, and the reason why none is called.
    """
    called = free.called or (framed.called if framed.called in followed else None)
    required = framed.fit(own)
    follows = own in followed
    if called is None and not follows:
        return "unknown", None, _why(free, framed)
    if own is None:
        return ("unknown", None, _why(free, framed)) if called is None else ("called", called, "")
    if called is None or called == own:
        return "agrees", own, ""
    rival = framed.fit(called)
    if follows and required is not None and (rival is None or not beats(rival, required, questions)):
        return "agrees", called, ""
    return "contradicted", called, ""


def _why(free: Judgement, framed: Judgement) -> str:
    """Why no convention is called."""
    grounds = any(fit.explains for fit in (*free.fits, *framed.fits))
    fact = "" if grounds else "it does not ground; "
    asked = framed.reason or "its boxes fit another one as well"
    return f"{fact}in free text, {free.reason}; asked in a convention, {asked}"


def _as_written(
    convention: Convention, boxes: Sequence[Box | Malformed | None], questions: Sequence[Question]
) -> Answered:
    """The answers to prompts that require a convention, with the numbers that were written."""
    numbers: list[Numbers | None] = []
    for box, question in zip(boxes, questions, strict=True):
        if isinstance(box, Box):
            a, b, c, d = convention.written([box], [question.size])[0].tolist()
            numbers.append((a, b, c, d))
        else:
            numbers.append(None)
    return Answered(tuple(questions), tuple(numbers))


def _location_tokens(tally: Tally, questions: Sequence[Question]) -> str:
    """That the answers in free text have location tokens, and in which order; empty: they have none."""
    written = sum(numbers is not None for numbers in tally.location_tokens)
    if not written:
        return ""
    answered = Answered(tuple(questions), tuple(tally.location_tokens))
    judged = judge(answered, [Convention(BoxFormat(order=order)) for order in ("xyxy", "yxyx")])
    best = judged.fit(judged.called)
    order = "" if best is None else f" in the order {best.convention.box_format.order} (mean IoU {best.mean:.2f})"
    return f"it wrote location tokens in {written} of {len(questions)} answers{order}"


def _remarks(
    tally: Tally,
    profile: ModelProfile | None,
    own: Convention | None,
    free: Judgement,
    called: Convention | None,
    tokens: str,
) -> Iterator[str]:
    """What else the probe noticed; `tokens` is that of `_location_tokens` if the reason does not say it."""
    if tokens:
        yield f"in free text, {tokens}, which are not supported"
    if profile is not None and own is None:
        yield "the profile in force has pixels after a resize that is not known"
    if free.called is not None and called == own and free.called != own:
        yield f"in free text, it writes {free.called.title}"
    if tally.malformed:
        yield f"{tally.malformed} answers did not have the form that the schema requires"
    if tally.errors:
        yield f"{len(tally.errors)} of {tally.calls} calls failed; the first: {tally.errors[0]}"


def _reset_memory(lm: dspy.BaseLM) -> None:
    if in_process_engine(lm) is not None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()


def _costs(lm: dspy.BaseLM, asker: Asker) -> Costs:
    memory, device = None, ""
    if in_process_engine(lm) is not None:
        import torch

        gpu = torch.cuda.is_available()
        memory, device = (torch.cuda.max_memory_allocated(), "GPU") if gpu else (process_peak(), "process")
    tally = asker.tally
    first = tally.errors[0] if tally.errors else ""
    return Costs(
        tally.calls,
        asker.threads,
        tally.seconds,
        tally.tokens,
        memory,
        device,
        tally.malformed,
        len(tally.errors),
        first,
    )
