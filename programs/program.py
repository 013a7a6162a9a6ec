"""`GroundingProgram`, the base class of the GMNER programs: prediction, compile, save, and runs over many posts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from inspect import Signature, signature
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypedDict, TypeVar, Unpack

import dspy
from PIL import Image

from gmner.data.images.budget import HELD
from gmner.data.images.decoding import scaled_size
from gmner.data.images.fetching import fetch
from gmner.data.images.opening import ImageSource, image_size, open_scaled
from gmner.data.post import Post
from gmner.data.prediction import Predictions
from gmner.data.scoring.metric import to_example
from gmner.programs.adapter import PromptAdapter
from gmner.programs.consistency import vote
from gmner.programs.corpus import answer_posts
from gmner.programs.error_causes import own_error
from gmner.programs.grounded_post import GroundedPost
from gmner.programs.local_engine import in_process_engine, is_served, profiled_engine
from gmner.programs.models.families import (
    InProcess,
    ModelProfile,
    ProfileLike,
    as_profile,
    assumed_profile,
    family_served_as,
    profile_for_name,
)
from gmner.programs.optimizing import compiled
from gmner.programs.prompt_images import PostPicture, picture_inputs
from gmner.programs.seams.dspy_seams import requested_trace
from gmner.signatures.errors import InputError, ModelError
from gmner.signatures.keyword_options import refuse_unknown_options
from gmner.signatures.labels import COARSE, LabelSet, as_labels
from gmner.signatures.mentions import GroundedEntity, unique_mentions
from gmner.signatures.number_checks import check_integer
from gmner.signatures.schema import Limits

if TYPE_CHECKING:
    from dspy.teleprompt import Teleprompter

Picture: TypeAlias = str | PathLike[str] | Image.Image | dspy.Image | None

Answer: TypeAlias = tuple[str, Sequence[GroundedEntity]]
"""Reasoning and entities of a post."""

AnswerWithThinking: TypeAlias = tuple[str, Sequence[GroundedEntity], str]
"""Reasoning, entities and thinking."""

Inputs: TypeAlias = dict[str, Any]
"""The inputs of the end-to-end signature: `text`, `image`, and `more_images` for a post with several."""

_Program = TypeVar("_Program", bound="GroundingProgram")

LOG = logging.getLogger(__name__)

_HELD, _SENT = 8, 20
# Bytes per pixel of an image during a call: with the copies of the local processor, or with the text for a server.


class AnsweringOptions(TypedDict, total=False):
    """Keyword options of `GroundingProgram`, which documents them and has their defaults."""

    confidence: bool
    answers: int
    temperature: float
    limit_pictures: int | None


class _InitSignature:
    """The arguments of `__init__` as the signature of a class, which `GMNER?` and `help` show.

    DSPy's metaclass would make it `(*args, **kwargs)`.
    """

    def __get__(self, program: object, cls: type) -> Signature:
        """The signature of the class; programs have their own."""
        if program is not None:
            raise AttributeError("__signature__")
        return Signature(list(signature(cls.__init__).parameters.values())[1:])  # type: ignore[misc]


class GroundingProgram(dspy.Module):
    """Base class of the GMNER programs.

    Args:
        lm: Any `dspy.LM`, see `load_vlm`; None: the one of `dspy.configure`.
        labels: The entity types: a `LabelSet`, a list of names, or a mapping name -> description.
        profile: Coordinate convention and resize rule of the model, if they cannot be inferred from its name: a
            `ModelProfile`, or JSON data or a file as for `load_vlm`.
        image_root: Folder that image paths must stay in; None: any local path.
        fetch: Download images that are given as public `http` or `https` URLs, see `gmner.data.images.fetching.fetch`.
            The server that hosts an image sees the download.
        limits: Limits of an answer: characters of reasoning, number of entities.
        **answering: How posts are answered. `confidence` (default False): add the model's confidence to each entity,
            see `gmner.programs.engine.confidence`. `answers` (default 1): number of answers to sample per post, over
            which a vote is taken, see `gmner.programs.consistency`; 1: one answer, as the LM gives it. `temperature`
            (default 0.7): sampling temperature if `answers` is above 1. `limit_pictures` (default None: all): use only
            the first images of a post with more, which is logged as a warning.

    `fetch`, `confidence`, `answers`, `temperature` and `limit_pictures` may also be set later; they are not saved with
    the program.

    Attributes:
        names_entities: Whether the answers name the entities of the text. False: the text is a referring expression.
        grounds: Whether the answers say what the images show.
        scores: Scores that an optimizer measured, as JSON data by stage; saved with the program, or None.
    """

    names_entities: ClassVar[bool] = True
    grounds: ClassVar[bool] = True

    __signature__ = _InitSignature()

    def __init__(
        self,
        lm: dspy.BaseLM | None = None,
        *,
        labels: LabelSet | Sequence[str] | Mapping[str, str] = COARSE,
        profile: ProfileLike | None = None,
        image_root: str | PathLike[str] | None = None,
        fetch: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        **answering: Unpack[AnsweringOptions],
    ) -> None:
        super().__init__()
        named = ("lm", "labels", "profile", "image_root", "fetch", "limits")
        refuse_unknown_options(type(self).__name__, answering, (*named, *AnsweringOptions.__annotations__))
        self.labels, self.limits, self.fetch = as_labels(labels), limits, fetch
        self.profile: ModelProfile | None = None if profile is None else as_profile(profile)
        self.confidence: bool = answering.get("confidence", False)
        self.answers: int = answering.get("answers", 1)
        self.temperature: float = answering.get("temperature", 0.7)
        self.limit_pictures: int | None = answering.get("limit_pictures")
        self.image_root = None if image_root is None else Path(image_root)
        self.scores: dict[str, Any] | None = None
        self.check_answering()
        self._build()
        if lm is not None:
            self.set_lm(lm)

    def _build(self) -> None:
        """Create the predictors."""
        raise NotImplementedError

    def _answer(self, inputs: Inputs) -> Answer:
        """Reasoning and entities of one post; called while the program's adapter is active."""
        raise NotImplementedError

    async def _aanswer(self, inputs: Inputs) -> Answer:
        """`_answer` for asyncio."""
        raise NotImplementedError

    def forward(self, text: str, image: Picture = None, images: Sequence[Picture] | None = None) -> GroundedPost:
        """Find the named entities of a post and ground them in its images.

        Args:
            text: The text of the post.
            image: A local path, a PIL image, a dspy.Image with data, or None; with `fetch` also a URL.
            images: Several images of the post, in order, in place of `image`.

        Returns:
            `entities` in the order of the answer (offsets into `text`, boxes in pixels of the original image), without
            repetitions of the same span, and `reasoning`. `picture` of a box is the number of its image, counted
            from 1.

        Raises:
            InputError: The text is empty, not a string, or contains a lone surrogate; both `image` and `images` are
                given; or the post has more images than the model takes.
            ImageError: An image is missing, broken, too large, outside `image_root`, or cannot be downloaded.
            ModelError: There is no LM.
            AnswerError: The model's answer does not follow the schema, was cut off, or lacks the log probabilities that
                `confidence` needs.
        """
        self.check_answering()
        with self._opened(text, _listed(image, images)) as pictures:
            try:
                return self._grounded(text, pictures, self._answered(_inputs(text, pictures)))
            except Exception as error:
                failure = own_error(error) or error
        raise failure  # outside the handler, which would add the error itself as context

    async def aforward(self, text: str, image: Picture = None, images: Sequence[Picture] | None = None) -> GroundedPost:
        """`forward` for asyncio: `await program.acall(text=..., image=...)`; concurrent calls share a batch."""
        self.check_answering()
        listed = _listed(image, images)
        sources, size = await asyncio.to_thread(self._sources, text, listed)  # reading and downloading take time
        async with HELD.aholding(size):
            pictures = await asyncio.to_thread(self._open, sources)
            try:
                return self._grounded(text, pictures, await self._aanswered(_inputs(text, pictures)))
            except Exception as error:
                failure = own_error(error) or error
        raise failure

    def _answered(self, inputs: Inputs) -> AnswerWithThinking:
        """One answer, or the majority vote over several."""

        def drawn(number: int | None) -> AnswerWithThinking:
            with self._with_adapter(number) as adapter:
                reasoning, entities = self._answer(inputs)
            return reasoning, entities, "\n\n".join(adapter.thoughts)

        if self.answers == 1:
            return drawn(None)
        with ThreadPoolExecutor(self.answers) as pool:
            futures = [pool.submit(copy_context().run, drawn, number) for number in range(self.answers)]
            return vote([future.result() for future in futures])

    async def _aanswered(self, inputs: Inputs) -> AnswerWithThinking:
        """`_answered` for asyncio."""

        async def drawn(number: int | None) -> AnswerWithThinking:
            with self._with_adapter(number) as adapter:
                reasoning, entities = await self._aanswer(inputs)
            return reasoning, entities, "\n\n".join(adapter.thoughts)

        if self.answers == 1:
            return await drawn(None)
        return vote(await asyncio.gather(*(drawn(number) for number in range(self.answers))))

    def _grounded(self, text: str, pictures: Sequence[PostPicture], answer: AnswerWithThinking) -> GroundedPost:
        reasoning, entities, thinking = answer
        opened = [(picture.opened, picture.size) for picture in pictures]
        image, size = opened[0] if opened else (None, None)
        fields: dict[str, Any] = {"entities": unique_mentions(entities), "reasoning": reasoning}
        if thinking:
            fields["thinking"] = thinking
        return GroundedPost(text=text, image=image, size=size, more_images=opened[1:], grounded=self.grounds, **fields)

    def check_answering(self) -> None:
        """Check the settings that may be changed after the program was created.

        Raises:
            InputError: `answers` or `limit_pictures` is not an integer of at least 1, or several answers are sampled
                without a temperature.
        """
        check_integer("limit_pictures", self.limit_pictures, optional=True)
        if type(self.answers) is not int or self.answers < 1 or (self.answers > 1 and not self.temperature > 0):
            received = f"answers={self.answers}, temperature={self.temperature}"
            fact = "answers must be at least 1, and sampling several needs temperature > 0"
            raise InputError(fact, received=received)

    @contextmanager
    def _opened(self, text: str, images: Sequence[Picture]) -> Iterator[list[PostPicture]]:
        """Check the text, open the images, and reserve their memory while the block runs."""
        sources, size = self._sources(text, images)
        with HELD.holding(size):
            yield self._open(sources)

    def _sources(self, text: str, images: Sequence[Picture]) -> tuple[list[ImageSource | PostPicture], int]:
        """Check the text; returns the sources of the images and the number of bytes that a call with them needs."""
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                "The text of a post must be a non-empty string", received=text, accepted="a string with words"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            remedy = "Remove it; it may be half of an emoji that was cut"
            fact = "The text of a post contains a lone surrogate (half of a character)"
            raise InputError(fact, received=text, remedy=remedy) from error
        if self.limit_pictures is not None and len(images) > self.limit_pictures:
            limit, more = self.limit_pictures, len(images) - self.limit_pictures
            LOG.warning("limit_pictures=%d: %d of the %d images of a post are not used", limit, more, len(images))
            images = images[:limit]
        found = [self._source(image) for image in images]
        return [source for source, _ in found], sum(size for _, size in found)

    def _source(self, image: Picture) -> tuple[ImageSource | PostPicture, int]:
        """The source of an image, and the number of bytes that a call with it needs."""
        if image is None:
            raise InputError("images must not contain None", received=None, accepted="paths or images")
        if isinstance(image, PostPicture):
            return image, 0
        source: ImageSource = image.url if isinstance(image, dspy.Image) else image
        if self.fetch and isinstance(source, str) and "://" in source:
            source = fetch(source)
        width, height = scaled_size(image_size(source, root=self.image_root), self._used())
        return source, width * height * (_SENT if self._engine() is None else _HELD)

    def _open(self, sources: Sequence[ImageSource | PostPicture]) -> list[PostPicture]:
        """Open the images of a post as `dspy.Image`s."""
        used, root = self._used(), self.image_root
        return [s if isinstance(s, PostPicture) else PostPicture(*open_scaled(s, used, root=root)) for s in sources]

    def _used(self) -> int | None:
        """The largest number of pixels of an image that the model uses; None: unknown."""
        engine = self._engine()
        return None if engine is None else engine.image_pixels

    def _engine(self) -> InProcess | None:
        """The local engine of the LM, or None."""
        return in_process_engine(self.predictors()[0].lm or dspy.settings.lm)

    @property
    def model(self) -> dspy.BaseLM:
        """The LM of the program: its own, or the configured one.

        Raises:
            ModelError: There is none.
        """
        lm = self.predictors()[0].lm or dspy.settings.lm
        if lm is None:
            raise ModelError("The program has no LM", remedy="Pass one: GMNER(lm=gmner.load_vlm())")
        return lm

    def adapter(self) -> PromptAdapter:
        """The prompt adapter for this program's labels and its model's profile."""
        profile = self.profile or profile_of_lm(self.model)
        return PromptAdapter(self.labels, profile, self.limits, confidence=self.confidence)

    @contextmanager
    def _with_adapter(self, number: int | None = None) -> Iterator[PromptAdapter]:
        """Activate the program's adapter and yield it; `number` is the index among several sampled answers."""
        adapter = self.adapter()
        if number is not None:
            # DSPy's cache distinguishes rollouts by this id and does not send it.
            adapter.draw = {"temperature": self.temperature, "rollout_id": number}
            if "seed" in self.model.supported_params:
                adapter.draw["seed"] = number
        with dspy.context(adapter=adapter, trace=requested_trace()):
            yield adapter

    def with_task(self, program: type[_Program]) -> _Program:
        """A program of another class with the LM and the settings of this one, but without its demonstrations.

        Args:
            program: `GMNER`, `StagedGMNER`, `MNER` or `GREC`.

        Raises:
            InputError: `program` is not such a class.
        """
        if not (isinstance(program, type) and issubclass(program, GroundingProgram)):
            raise InputError("program must be a class", received=program, accepted="GMNER, StagedGMNER, MNER, GREC")
        other = program(
            self.predictors()[0].lm, labels=self.labels, profile=self.profile, image_root=self.image_root,
            fetch=self.fetch, limits=self.limits, limit_pictures=self.limit_pictures,
        )  # fmt: skip
        other.confidence, other.answers, other.temperature = self.confidence, self.answers, self.temperature
        return other

    def example_of(self, post: Post) -> dspy.Example:
        """The DSPy example of an annotated post, which can also be a demonstration of this program."""
        return to_example(post)

    def compile(
        self,
        *,
        trainset: Sequence[Post] | None = None,
        valset: Sequence[Post] | None = None,
        optimizer: Teleprompter,
        run_dir: str | PathLike[str] | None = None,
        leave_out_invalid: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Optimize the program: calls `optimizer.compile(self, ...)`.

        Args:
            trainset: Annotated posts, or DSPy examples. None: for an optimizer that needs none or has its own.
            valset: Annotated posts or examples on which programs are scored; ignored by optimizers without one.
            optimizer: `gmner.MCR()`, or any DSPy optimizer.
            run_dir: Folder from which a stopped compile resumes; ignored by optimizers without one.
            leave_out_invalid: For an optimizer of DSPy: skip posts with a gold answer that this program cannot
                generate (see `gmner.check_posts`) and log a warning with their number. False: raise an error.
                `gmner.MCR` has a setting with this name.
            **kwargs: Passed to the optimizer's `compile`.

        Returns:
            The result of the optimizer: a new program of this class with the same LM, or for `dspy.Ensemble` a module
            that calls `programs=[...]`. This program is not changed.

        Raises:
            InputError: The optimizer does not accept an argument, a required argument is missing, or the program cannot
                generate a gold answer (see `gmner.check_posts`).
            Exception: Anything that `optimizer.compile` raises.
        """
        given = {**kwargs, "trainset": trainset, "valset": valset}
        if run_dir is not None:
            given["run_dir"] = run_dir
        return compiled(self, optimizer, given, leave_out_invalid=leave_out_invalid)

    def reset_copy(self) -> GroundingProgram:
        """A deep copy without demonstrations; unlike with DSPy's method, its predictors keep their LMs."""
        lms = [predict.lm for predict in self.predictors()]
        copy: GroundingProgram = super().reset_copy()
        for predict, lm in zip(copy.predictors(), lms, strict=True):
            predict.lm = lm
        return copy

    def batch_posts(self, posts: Sequence[Post], *, threads: int | None = None, progress: bool = True) -> Predictions:
        """Predict the entities of many posts, with errors per post; see `gmner.programs.corpus.answer_posts`.

        Raises:
            InputError: See `check_answering`.
        """
        self.check_answering()
        return answer_posts(self, posts, threads=threads, progress=progress)

    def save(self, path: str | PathLike[str], *, scores: Mapping[str, Any] | None = None) -> None:
        """Save the program as a bundle for `gmner.load`; see `gmner.programs.bundle_files.save_bundle`."""
        from gmner.programs.bundle_files import save_bundle

        save_bundle(self, Path(path), scores=scores)

    def save_merged(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Save the weights with the adapter merged, for vLLM; see `gmner.programs.publish.save_merged`."""
        from gmner.programs.publish import save_merged

        save_merged(self, path, overwrite=overwrite)

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the bundle to the Hub with a model card; see `gmner.programs.publish.push_program`."""
        from gmner.programs.publish import push_program

        return push_program(self, repo_id, private=private, token=token)

    def load(self, path: str | PathLike[str]) -> None:
        """Load the instructions and demonstrations of a bundle and keep the LM; `gmner.load` loads a whole program."""
        from gmner.programs.bundle_files import load_state

        load_state(self, Path(path))


def _listed(image: Picture, images: Sequence[Picture] | None) -> Sequence[Picture]:
    """The images of a post as a list.

    Raises:
        InputError: Both arguments are given, or `images` is not a list.
    """
    if images is None:
        return () if image is None else (image,)
    if image is not None:
        raise InputError("image and images cannot be used together", remedy="Put all images into images=[...]")
    if isinstance(images, (str, bytes)) or not isinstance(images, Sequence):
        raise InputError("images must be a list of images", received=images, remedy="Pass a single image as image=")
    return images


def _inputs(text: str, pictures: Sequence[PostPicture]) -> Inputs:
    return {"text": text, **picture_inputs(pictures)}


def profile_of_lm(lm: dspy.BaseLM) -> ModelProfile:
    """The profile of an LM's model: that of its engine, or else the one inferred from its name.

    An LM of another kind, which neither has a profile nor is on a server, is taken to write coordinates in 0..1000,
    which a warning says once.

    Raises:
        ModelError: The model is on a server, and its family is unknown or refused.
    """
    engine = profiled_engine(lm)
    if engine is not None:
        return engine.profile
    return profile_for_name(lm.model) if is_served(lm) or family_served_as(lm.model) else assumed_profile(lm.model)
