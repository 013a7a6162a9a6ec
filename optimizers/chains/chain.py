"""D_R: reasoning chains over gold posts, and its split into D1 (injection) and D2 (reinforcement)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gmner.data.post import Post
from gmner.optimizers.chains.checker import check_chain
from gmner.optimizers.chains.styles import TEMPLATES, Draft, Facts, Style, draft_chain
from gmner.programs.adapter import PromptAdapter
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.forms import as_data, as_entity
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.schema import MAX_REASONING
from gmner.signatures.wire import Frame

if TYPE_CHECKING:
    from gmner.optimizers.chains.chain_log import ChainLog


@dataclass(frozen=True, slots=True)
class Chain:
    """One reasoning chain with its answer.

    Attributes:
        post_id: The post it belongs to.
        style: The name of its style.
        reasoning: The chain.
        entities: The gold answer as plain data, boxes in pixels of the original image; see `as_data`.
        author: Who wrote it: `template`, `llm` or `mllm`.
        problem: Why another chain stands in the place of the one that was wanted, its kind before a colon; empty:
            nothing was wrong.
    """

    post_id: str
    style: str
    reasoning: str
    entities: tuple[dict[str, Any], ...]
    author: str = "template"
    problem: str = ""

    def to_record(self) -> dict[str, Any]:
        """The chain as JSON data."""
        return {**asdict(self), "entities": list(self.entities)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Chain:
        """Inverse of `to_record`."""
        return cls(**{**record, "entities": tuple(record["entities"])})


def stratum(post: Post) -> str:
    """`empty`, `shown`, `absent` or `mixed`: how the picture relates to what the post names."""
    seen = {entity.visible for entity in post.gold}
    if not seen:
        return "empty"
    return "mixed" if len(seen) == 2 else ("shown" if seen == {True} else "absent")


def split_posts(posts: Sequence[Post], share: float, rng: random.Random) -> tuple[list[Post], list[Post]]:
    """Split annotated posts into D1 and D2, stratified by `stratum`; no post is in both.

    Args:
        posts: The training posts, ids unique.
        share: D1's share of the posts, 0..1; the paper does not give it.
        rng: The source of randomness.

    Raises:
        InputError: No post, a post without annotation, or two posts with one id.
    """
    check_trainset(posts)
    groups: dict[str, list[Post]] = {}
    for post in rng.sample(list(posts), len(posts)):
        groups.setdefault(stratum(post), []).append(post)
    first: list[Post] = []
    second: list[Post] = []
    seen = 0
    for _, group in sorted(groups.items()):
        # Rounded over all groups so far: many small groups would otherwise all fall to one side.
        cut = round(share * (seen + len(group))) - round(share * seen)
        seen += len(group)
        first += group[:cut]
        second += group[cut:]
    return rng.sample(first, len(first)), rng.sample(second, len(second))


def check_split(d1: Sized, d2: Sized, *, injected: bool, optimized: bool) -> None:
    """Refuse a split that leaves a stage without posts.

    Args:
        d1: What MRSI learns from.
        d2: What CVO learns from.
        injected: Whether MRSI is to run.
        optimized: Whether CVO is to run.

    Raises:
        InputError: A stage that is to run has no post.
    """
    if (injected and not d1) or (optimized and not d2):
        raise InputError("D1 or D2 has no post", received=(len(d1), len(d2)), remedy="More posts, or another d1_share")


def check_trainset(posts: Sequence[Post]) -> None:
    """Refuse what cannot be trained on.

    Raises:
        InputError: See `split_posts`.
    """
    if not posts:
        raise InputError("The trainset is empty", received=[], accepted="annotated posts")
    ids = [post.id for post in posts]
    if len(set(ids)) != len(ids):
        raise InputError("Two posts of the trainset share an id", received=next(i for i in ids if ids.count(i) > 1))
    bare = next((post.id for post in posts if post.entities is None), None)
    if bare is not None:
        raise InputError("A post of the trainset is not annotated", received=bare, accepted="posts with entities")
    unboxed = next((post.id for post in posts if not post.grounded), None)
    if unboxed is not None:
        raise InputError(
            "A post of the trainset has no annotated regions: it would teach that nothing is shown",
            received=unboxed,
            accepted="posts with `grounded`",
        )


def check_pictures(posts: Sequence[Post], adapter: PromptAdapter) -> None:
    """Refuse posts whose picture would stop a compile in the middle; every picture is decoded once.

    Args:
        posts: Annotated posts.
        adapter: The program's adapter, which knows what pictures the model takes.

    Raises:
        InputError: A post with boxes and no picture.
        ImageError: A picture that cannot be read or that the model does not take; the fact names the post.
    """
    blind = [post.id for post in posts if post.image is None and any(entity.visible for entity in post.gold)]
    if blind:
        raise InputError(
            f"{len(blind)} posts of the trainset have boxes but no picture",
            received=blind[0],
            accepted="posts with their pictures",
            remedy="Tell the reader where the pictures are (images=), or leave these posts out (gmner compile "
            "--with-pictures)",
        )
    for post in posts:
        try:
            adapter.request({"text": post.text, "image": post.image})
        except ImageError as error:
            fact = f"Post {post.id!r} of the trainset: {error.fact}"
            raise ImageError(
                fact, received=error.received, accepted=error.accepted, remedy=error.remedy or "Leave this post out"
            ) from error


def write_chains(
    posts: Sequence[Post],
    frames: Mapping[str, Frame],
    styles: Mapping[str, Style],
    per_post: int,
    rng: random.Random,
    limit: int = MAX_REASONING,
    *,
    labels: LabelSet = COARSE,
    log: ChainLog | None = None,
    threads: int = 8,
    progress: bool = False,
) -> list[Chain]:
    """Chains in `per_post` different styles for each post, drawn at random, each checked against the gold.

    A chain that contradicts the gold, or is longer than `limit`, is replaced by the terse table, or by no reasoning
    where that is too long too; the chain says so in `problem`.

    Args:
        posts: Annotated posts.
        frames: Box frame and picture size by post id.
        styles: Styles by name.
        per_post: Chains a post; the paper's data has two. At most the number of styles.
        rng: The source of wording and of the styles' order.
        limit: Most characters of a chain.
        labels: The entity types.
        log: Keeps every chain as it comes, and gives back those of a pass that was stopped.
        threads: Chains that models write at once.
        progress: Show a progress bar.
    """
    names = list(styles)
    # What each chain draws from is fixed here, so that threads and a resumed pass change nothing.
    wanted = [
        (post, name, random.Random(rng.random()))
        for post in posts
        for name in rng.sample(names, min(per_post, len(names)))
    ]
    done = {} if log is None else log.chains

    def write(post: Post, name: str, draw: random.Random) -> Chain:
        found = done.get((post.id, name))
        if found is None:
            found = _chain(post, name, styles[name], Facts.of(post, frames[post.id], labels), draw, limit)
            if log is not None:
                log.append(found)
        return found

    if not any(hasattr(style, "author") for style in styles.values()):
        return [write(*chain) for chain in tqdm(wanted, desc="chains", unit="chain", disable=not progress, delay=2)]
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(copy_context().run, write, post, name, draw) for post, name, draw in wanted]
        try:
            return [future.result() for future in tqdm(futures, desc="chains", unit="chain", disable=not progress)]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chain(post: Post, name: str, style: Style, facts: Facts, draw: random.Random, limit: int) -> Chain:
    """A style's chain that holds, or what takes its place."""
    written = draft_chain(style, facts, draw)
    problem = _fault(written.text, facts, limit)
    if problem:
        terse = draft_chain(TEMPLATES["table"], facts, draw)
        text = "" if _fault(terse.text, facts, limit) else terse.text
        written = Draft(text, problem="; ".join(filter(None, (written.problem, problem))))
    entities = tuple(as_data(as_entity(entity)) for entity in post.gold)
    return Chain(post.id, name, written.text, entities, written.author, written.problem)


def _fault(text: str, facts: Facts, limit: int) -> str:
    """Why a chain cannot be used; empty: it can."""
    if len(text) > limit:
        return f"too_long: {len(text)} characters are more than the {limit} of an answer"
    return "; ".join(f"{problem.kind}: {problem.message}" for problem in check_chain(text, facts, complete=False))
