"""`write_chains`: chains in several styles over annotated posts, each checked against the gold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

from tqdm import tqdm

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.checker import check_chain
from gmner.optimizers.chains.styles import TEMPLATES, Draft, Facts, Style, draft_chain
from gmner.optimizers.chains.styles.facts import ModelWritten
from gmner.signatures.forms import as_data
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.schema import MAX_REASONING
from gmner.signatures.wire import Frame


@dataclass(frozen=True)
class ChainWriting:
    """What chains are written, and how long they may be.

    Args:
        styles: Styles by name.
        per_post: Chains per post, at most the number of styles. The paper uses two.
        limit: Maximum number of characters of a chain.
        labels: The entity types.
        threads: Number of chains that models write at the same time.
    """

    styles: Mapping[str, Style]
    per_post: int = 1
    limit: int = MAX_REASONING
    labels: LabelSet = COARSE
    threads: int = 8


def write_chains(
    posts: Sequence[Post],
    frames: Mapping[str, Frame],
    writing: ChainWriting,
    rng: random.Random,
    *,
    log: ChainLog | None = None,
    progress: bool = False,
) -> list[Chain]:
    """Write chains in different styles for each post, drawn at random, and check each against the gold annotation.

    A chain that contradicts the gold annotation or is too long is replaced by the short table, or by no reasoning if
    the table is too long as well. `problem` of the chain says so.

    Args:
        posts: Annotated posts.
        frames: Coordinate convention and image size by post id.
        writing: Styles, number of chains and limits.
        rng: Source of randomness for the wording and for the choice of styles.
        log: Saves every chain as soon as it is written, and returns the chains of an interrupted pass.
        progress: Show a progress bar.
    """
    styles = writing.styles
    # Each chain gets its own random generator here, so that neither threads nor an interruption change the result.
    jobs = [
        (post, name, random.Random(rng.random()))
        for post in posts
        for name in rng.sample(list(styles), min(writing.per_post, len(styles)))
    ]
    written = {} if log is None else log.chains

    def write(post: Post, name: str, chain_rng: random.Random) -> Chain:
        chain = written.get((post.id, name))
        if chain is None:
            facts = Facts.of(post, frames[post.id], writing.labels)
            chain = _checked_chain(post.id, name, styles[name], facts, chain_rng, writing.limit)
            if log is not None:
                log.append(chain)
        return chain

    if not any(isinstance(style, ModelWritten) for style in styles.values()):
        return [write(*job) for job in tqdm(jobs, desc="chains", unit="chain", disable=not progress, delay=2)]
    with ThreadPoolExecutor(writing.threads) as pool:
        futures = [pool.submit(copy_context().run, write, post, name, chain_rng) for post, name, chain_rng in jobs]
        try:
            return [future.result() for future in tqdm(futures, desc="chains", unit="chain", disable=not progress)]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _checked_chain(post_id: str, name: str, style: Style, facts: Facts, rng: random.Random, limit: int) -> Chain:
    """The chain of a style, or its replacement if it cannot be used."""
    written = draft_chain(style, facts, rng)
    fault = _fault(written.text, facts, limit)
    if fault:
        table = draft_chain(TEMPLATES["table"], facts, rng)
        text = "" if _fault(table.text, facts, limit) else table.text
        written = Draft(text, problem="; ".join(filter(None, (written.problem, fault))))
    entities = tuple(map(as_data, facts.answer))
    return Chain(post_id, name, written.text, entities, written.author, written.problem)


def _fault(text: str, facts: Facts, limit: int) -> str:
    """Why a chain cannot be used; empty if it can."""
    if len(text) > limit:
        return f"too_long: {len(text)} characters are more than the {limit} of an answer"
    return "; ".join(f"{problem.kind}: {problem.message}" for problem in check_chain(text, facts, complete=False))
