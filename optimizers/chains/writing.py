"""`write_chains`: chains in several styles over annotated posts, each checked against the gold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from tqdm import tqdm

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.checker import check_chain
from gmner.optimizers.chains.styles import TEMPLATES, Draft, Facts, Style, draft_chain
from gmner.optimizers.chains.styles.facts import ModelWritten
from gmner.signatures.forms import as_data, as_entity
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.schema import MAX_REASONING
from gmner.signatures.wire import Frame


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

    if not any(isinstance(style, ModelWritten) for style in styles.values()):
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
