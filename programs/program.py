"""What every GMNER program shares: the call, the adapter in force, compile, save, and the run over many posts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import dspy
from PIL import Image

from gmner.data.images.budget import HELD
from gmner.data.images.decoding import scaled_size
from gmner.data.images.fetching import fetch
from gmner.data.images.opening import ImageSource, image_size, open_scaled
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.programs.adapter import PromptAdapter
from gmner.programs.consistency import vote
from gmner.programs.corpus import answer_posts
from gmner.programs.error_causes import own_error
from gmner.programs.local_engine import in_process_engine, profiled_engine
from gmner.programs.models.families import InProcess, ModelProfile, profile_for_name
from gmner.programs.optimizing import compiled
from gmner.programs.prompt_images import PostPicture
from gmner.programs.records import wanted_trace
from gmner.signatures.boxes import Size
from gmner.signatures.errors import InputError, ModelError
from gmner.signatures.keyword_options import refuse_unknown_options
from gmner.signatures.labels import COARSE, LabelSet, as_labels
from gmner.signatures.mentions import GroundedEntity, unique_mentions
from gmner.signatures.schema import Limits

if TYPE_CHECKING:
    from dspy.teleprompt import Teleprompter

Picture: TypeAlias = str | PathLike[str] | Image.Image | dspy.Image | None

Answer: TypeAlias = tuple[str, Sequence[GroundedEntity]]
"""Reasoning and entities of a post."""

_HELD, _SENT = 8, 20
# Bytes a pixel of the image of a call: opened and as the processor copies it; or opened and as text for a server.


class GroundedPost(dspy.Prediction):
    """The answer to one post: `entities` (list of GroundedEntity) and `reasoning`; renders itself in a notebook.

    A copy (`copy`, `without`, `with_inputs`, `copy.deepcopy`, pickle) keeps the text and the image of the post.

    Args:
        base: Another answer, or a mapping of fields, to copy.
        text: The text of the post; None: that of `base`.
        image: Its image; None: that of `base`.
        size: (width, height) in pixels of the original image, where `image` was scaled down; None: that of `image`.
        **fields: Fields of the answer: `entities`, `reasoning`.
    """

    def __init__(
        self,
        base: Mapping[str, Any] | dspy.Example | None = None,
        *,
        text: str | None = None,
        image: Image.Image | None = None,
        size: Size | None = None,
        **fields: Any,
    ) -> None:
        kept = base if isinstance(base, GroundedPost) else None
        plain = dict(base.items()) if base is not None and kept is None else base
        super().__init__(plain, **{n: list(v) if n == "entities" else v for n, v in fields.items()})
        self._text: str | None = text if text is not None or kept is None else kept._text
        self._image: Image.Image | None = image if image is not None or kept is None else kept._image
        self._size: Size | None = size if size is not None or kept is None else kept._size

    def __repr__(self) -> str:
        """One line an entity, with its confidence where there is one."""
        lines = [f"  {e.span!r} [{e.start}:{e.end}] {e.type} {_where(e)}{_sure(e)}" for e in self.get("entities") or ()]
        return "\n".join([f"GroundedPost({self._text!r}", *(lines or ["  no entity"])]) + ")"

    def inputs(self) -> GroundedPost:
        """The fields that `with_inputs` named."""
        return type(self)(super().inputs(), text=self._text, image=self._image, size=self._size)

    def labels(self) -> GroundedPost:
        """The other fields."""
        return type(self)(super().labels(), text=self._text, image=self._image, size=self._size)

    def as_pair(self) -> tuple[Post, Prediction]:
        """The post and its answer as values, both with the id `post`; the image has the size of the original."""
        image = self._image
        if image is not None and self._size not in (None, image.size):
            image = image.resize(self._size)
        post = Post("post", self._text or "", image)
        return post, Prediction(post.id, post.text, self.get("reasoning") or "", tuple(self.get("entities") or ()))

    def _repr_html_(self) -> str:
        from gmner.data.pages.notebook import entity_html  # a template engine, which only a notebook needs

        post, answer = self.as_pair()
        return entity_html(post.text, post.image, answer.entities, answer.reasoning)


def _grounded(text: str, picture: PostPicture | None, answer: Answer) -> GroundedPost:
    reasoning, entities = answer
    image, size = (None, None) if picture is None else (picture.opened, picture.size)
    return GroundedPost(text=text, image=image, size=size, entities=unique_mentions(entities), reasoning=reasoning)


def _where(entity: GroundedEntity) -> str:
    if entity.box is None:
        return "not shown"
    return "at ({})".format(", ".join(f"{v:.0f}" for v in entity.box.as_tuple()))


def _sure(entity: GroundedEntity) -> str:
    return "" if entity.confidence is None else f" ({entity.confidence:.0%})"


class AnsweringOptions(TypedDict, total=False):
    """Keyword options of `GroundingProgram`, which documents them and has their defaults."""

    confidence: bool
    answers: int
    temperature: float


class GroundingProgram(dspy.Module):
    """Base of the GMNER programs.

    Args:
        lm: Any `dspy.LM`, see `load_vlm`; None: the one of `dspy.configure`.
        labels: The entity types: a `LabelSet`, a list of names, or a mapping name -> description.
        profile: Box frame and resize rule of the model, where they cannot be told from its name.
        image_root: Folder that paths of pictures must stay in; None: any local path.
        fetch: Fetch pictures that are given as `http` or `https` addresses, public ones only, see
            `gmner.data.images.fetching.fetch`. For somebody else's posts: whoever wrote them learns that you looked.
        limits: Bounds of an answer: characters of reasoning, number of entities.
        **answering: How posts are answered. `confidence` (default False): add the model's confidence to each entity,
            see `gmner.programs.engine.confidence`. `answers` (default 1): number of answers to sample per post, over
            which a vote is taken, see `gmner.programs.consistency`; 1: one answer, as the LM gives it. `temperature`
            (default 0.7): sampling temperature if `answers` is above 1.

    `fetch`, `confidence`, `answers` and `temperature` may be set later, too; a bundle does not keep them.

    Attributes:
        scores: What an optimizer measured, as JSON data by stage; saved with the program. None: nothing.
    """

    def __init__(
        self,
        lm: dspy.BaseLM | None = None,
        *,
        labels: LabelSet | Sequence[str] | Mapping[str, str] = COARSE,
        profile: ModelProfile | None = None,
        image_root: str | PathLike[str] | None = None,
        fetch: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        **answering: Unpack[AnsweringOptions],
    ) -> None:
        super().__init__()
        named = ("lm", "labels", "profile", "image_root", "fetch", "limits")
        refuse_unknown_options(type(self).__name__, answering, (*named, *AnsweringOptions.__annotations__))
        self.labels, self.profile, self.limits, self.fetch = as_labels(labels), profile, limits, fetch
        self.confidence: bool = answering.get("confidence", False)
        self.answers: int = answering.get("answers", 1)
        self.temperature: float = answering.get("temperature", 0.7)
        self.image_root = None if image_root is None else Path(image_root)
        self.scores: dict[str, Any] | None = None
        self._build()
        if lm is not None:
            self.set_lm(lm)

    def _build(self) -> None:
        """Create the predictors."""
        raise NotImplementedError

    def _answer(self, text: str, image: dspy.Image | None) -> Answer:
        """Reasoning and entities of one post; runs with the adapter in force."""
        raise NotImplementedError

    async def _aanswer(self, text: str, image: dspy.Image | None) -> Answer:
        """`_answer` for asyncio."""
        raise NotImplementedError

    def forward(self, text: str, image: Picture = None) -> GroundedPost:
        """Find the named entities of a post and ground them.

        Args:
            text: The text of the post.
            image: A local path, a PIL image, a dspy.Image with data, or None; with `fetch` also an address.

        Returns:
            `entities` in the order of the answer (offsets into `text`, boxes in pixels of the original image), words
            that the model names several times only once, as it names them first; and `reasoning`.

        Raises:
            InputError: The text is empty, no string, or not Unicode (a lone surrogate).
            ImageError: The picture is missing, broken, too large, outside of `image_root`, or cannot be fetched.
            ModelError: No LM.
            AnswerError: The model's answer is not what the schema asks for, was cut, or lacks the probabilities that
                `confidence` needs.
        """
        with self._opened(text, image) as picture:
            try:
                return _grounded(text, picture, self._answered(text, picture))
            except Exception as error:
                failure = own_error(error) or error
        raise failure  # outside of the handler, so that cause and context make no circle

    async def aforward(self, text: str, image: Picture = None) -> GroundedPost:
        """`forward` for asyncio: `await program.acall(text=..., image=...)`; calls at once make one batch."""
        source, size = await asyncio.to_thread(self._source, text, image)  # reading and fetching take time
        async with HELD.aholding(size):
            picture = await asyncio.to_thread(self._open, source)
            try:
                return _grounded(text, picture, await self._aanswered(text, picture))
            except Exception as error:
                failure = own_error(error) or error
        raise failure

    def _answered(self, text: str, image: dspy.Image | None) -> Answer:
        """`_answer`, or the vote over several."""

        def drawn(number: int | None) -> Answer:
            with self._speaking(number):
                return self._answer(text, image)

        if self._drawn() == 1:
            return drawn(None)
        with ThreadPoolExecutor(self.answers) as pool:
            futures = [pool.submit(copy_context().run, drawn, number) for number in range(self.answers)]
            return vote([future.result() for future in futures])

    async def _aanswered(self, text: str, image: dspy.Image | None) -> Answer:
        """`_answered` for asyncio."""

        async def drawn(number: int | None) -> Answer:
            with self._speaking(number):
                return await self._aanswer(text, image)

        if self._drawn() == 1:
            return await drawn(None)
        return vote(await asyncio.gather(*(drawn(number) for number in range(self.answers))))

    def _drawn(self) -> int:
        """How many answers are drawn."""
        if self.answers < 1 or (self.answers > 1 and not self.temperature > 0):
            received = f"answers={self.answers}, temperature={self.temperature}"
            fact = "answers must be at least 1, and sampling several needs temperature > 0"
            raise InputError(fact, received=received)
        return self.answers

    @contextmanager
    def _opened(self, text: str, image: Picture) -> Iterator[PostPicture | None]:
        """The image of a post, once its text is known to be one; its memory is held for the length of the block."""
        source, size = self._source(text, image)
        with HELD.holding(size):
            yield self._open(source)

    def _source(self, text: str, image: Picture) -> tuple[ImageSource | PostPicture | None, int]:
        """What the image of a post is opened from, once its text is known to be one; the bytes that a call holds."""
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                "The text of a post is empty or no string", received=text, accepted="a string with a word in it"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            remedy = "Remove the lone surrogate (half of a character), for instance of an emoji that was cut"
            raise InputError("The text of a post is not Unicode", received=text, remedy=remedy) from error
        if image is None or isinstance(image, PostPicture):
            return image, 0
        source: ImageSource = image.url if isinstance(image, dspy.Image) else image
        if self.fetch and isinstance(source, str) and "://" in source:
            source = fetch(source)
        width, height = scaled_size(image_size(source, root=self.image_root), self._used())
        return source, width * height * (_SENT if self._engine() is None else _HELD)

    def _open(self, source: ImageSource | PostPicture | None) -> PostPicture | None:
        """The image of a post as DSPy takes it."""
        if source is None or isinstance(source, PostPicture):
            return source
        return PostPicture(*open_scaled(source, self._used(), root=self.image_root))

    def _used(self) -> int | None:
        """Most pixels that the model uses of an image; None: not known."""
        engine = self._engine()
        return None if engine is None else engine.image_pixels

    def _engine(self) -> InProcess | None:
        """The engine of this process that answers, or None."""
        return in_process_engine(self.predictors()[0].lm or dspy.settings.lm)

    @property
    def model(self) -> dspy.BaseLM:
        """The LM that answers: the program's own, or the configured one.

        Raises:
            ModelError: There is none.
        """
        own = self.predictors()[0].lm or dspy.settings.lm
        if own is None:
            raise ModelError("The program has no LM", remedy="Give one: GMNER(lm=gmner.load_vlm())")
        return own

    def adapter(self) -> PromptAdapter:
        """The prompt adapter for this program's labels and its model's profile."""
        profile = self.profile or profile_of_lm(self.model)
        return PromptAdapter(self.labels, profile, self.limits, confidence=self.confidence)

    @contextmanager
    def _speaking(self, number: int | None = None) -> Iterator[None]:
        """Put the adapter in force; with a number, for that one of several answers."""
        adapter = self.adapter()
        if number is not None:
            # DSPy's cache tells rollouts apart by their id, and does not hand it on.
            adapter.draw = {"temperature": self.temperature, "rollout_id": number}
            if "seed" in self.model.supported_params:
                adapter.draw["seed"] = number
        with dspy.context(adapter=adapter, trace=wanted_trace()):
            yield

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
        """`optimizer.compile(self, ...)`: a new program with the same LM; this one stays as it was.

        Args:
            trainset: Annotated posts, or examples of DSPy; posts become examples for an optimizer of DSPy. None: for an
                optimizer that takes none, or has its own.
            valset: Annotated posts or examples on which programs are scored; not used by an optimizer that takes none.
            optimizer: `gmner.MCR()`, or any DSPy optimizer.
            run_dir: Where a compile keeps what it makes, so that it can be resumed; not used by an optimizer that takes
                none.
            leave_out_invalid: For an optimizer of DSPy: leave out posts whose gold answer this program could not write,
                see `gmner.check_posts`, and warn with their number; False: they are refused. `gmner.MCR` has a setting
                of the same name.
            **kwargs: Passed to the optimizer's `compile`.

        Returns:
            What the optimizer returns: a program of this class; `dspy.Ensemble`: a module that calls `programs=[...]`.

        Raises:
            InputError: The optimizer does not take an argument or lacks what it needs, or gold that the program could
                not write (see `gmner.check_posts`); what `optimizer.compile` raises.
        """
        given = {**kwargs, "trainset": trainset, "valset": valset}
        if run_dir is not None:
            given["run_dir"] = run_dir
        return compiled(self, optimizer, given, leave_out_invalid=leave_out_invalid)

    def reset_copy(self) -> GroundingProgram:
        """A deep copy without demonstrations; its predictors keep their LMs, which DSPy's own would drop."""
        lms = [predict.lm for predict in self.predictors()]
        copy: GroundingProgram = super().reset_copy()
        for predict, lm in zip(copy.predictors(), lms, strict=True):
            predict.lm = lm
        return copy

    def batch_posts(self, posts: Sequence[Post], *, threads: int | None = None, progress: bool = True) -> Predictions:
        """Answer many posts, each with its own error if it has one; see `gmner.programs.corpus.answer_posts`."""
        return answer_posts(self, posts, threads=threads, progress=progress)

    def save(self, path: str | PathLike[str], *, scores: Mapping[str, Any] | None = None) -> None:
        """Write the program as a bundle, to be read by `gmner.load`; see `gmner.programs.bundle_files.save_bundle`."""
        from gmner.programs.bundle_files import save_bundle

        save_bundle(self, Path(path), scores=scores)

    def save_merged(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the weights, adapter merged, as a checkpoint for vLLM; see `gmner.programs.publish.save_merged`."""
        from gmner.programs.publish import save_merged

        save_merged(self, path, overwrite=overwrite)

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the bundle to the hub with a model card; see `gmner.programs.publish.push_program`."""
        from gmner.programs.publish import push_program

        return push_program(self, repo_id, private=private, token=token)

    def load(self, path: str | PathLike[str]) -> None:
        """Take over instructions and demonstrations of a bundle; the LM stays. A whole program: `gmner.load`."""
        from gmner.programs.bundle_files import load_state

        load_state(self, Path(path))


def profile_of_lm(lm: dspy.BaseLM) -> ModelProfile:
    """What a prompt has to know of the model behind an LM: from its engine, else from its name."""
    engine = profiled_engine(lm)
    return profile_for_name(lm.model) if engine is None else engine.profile
