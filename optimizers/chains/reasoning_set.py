"""`ReasoningSet`: D_R as a value and as a folder, so that an expensive teacher writes its chains only once.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI: D_R has chains about the gold annotation and is split
into D1 (for MRSI) and D2 (for CVO). The files and the checks before a set is used again are ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gmner.data.files.commit import finish_replacing, replace_files
from gmner.data.images.opening import open_image
from gmner.data.post import Post
from gmner.data.records import located
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import chain_of, faults_of
from gmner.optimizers.chains.reasoning_card import render_dataset_card
from gmner.optimizers.chains.reasoning_origin import ChainCounts, Origin
from gmner.optimizers.chains.split import stratum
from gmner.programs.models.families import ResizeRule
from gmner.programs.models.hub import folder_or_hub, upload
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.forms import box_data

if TYPE_CHECKING:
    import datasets

CHAINS_FILE, SPLIT_FILE, TABLE_FILE, CARD_FILE = "chains.jsonl", "split.json", "data/chains.parquet", "README.md"
_FILES = (TABLE_FILE, CARD_FILE, CHAINS_FILE, SPLIT_FILE)
_COLUMNS = ("post_id", "split", "style", "author", "problem", "reasoning", "answer")
_REMEDY = "Write new chains for this model and these posts, or use the model and posts that the set was made for"


@dataclass(frozen=True, slots=True)
class ReasoningSet:
    """The reasoning set D_R: chains, the split of their posts, and the origin of the set.

    Attributes:
        chains: The chains, at most one per post and style, each of a post in D1 or D2.
        d1: Ids of the posts for MRSI, in training order.
        d2: Ids of the posts for CVO; none of them is in `d1`.
        digests: Post id -> `post_digest`, for the posts in `d1` and `d2`.
        origin: What the set was made for, and how.

    Raises:
        InputError: A post is in both halves or twice in one, a chain's post is in neither half, a post has two chains
            in the same style, or the digests are of other posts.
    """

    chains: tuple[Chain, ...]
    d1: tuple[str, ...]
    d2: tuple[str, ...]
    digests: Mapping[str, str]
    origin: Origin

    def __post_init__(self) -> None:
        """Check that split, chains and digests fit together."""
        members, seen = _members(self.d1, self.d2, self.digests), set[tuple[str, str]]()
        for chain in self.chains:
            _check_place(chain, members, seen)

    @classmethod
    def of(cls, chains: Iterable[Chain], d1: Sequence[Post], d2: Sequence[Post], origin: Origin) -> ReasoningSet:
        """Make a set; every image is decoded once, for `post_digest`.

        Args:
            chains: The chains.
            d1: The posts for MRSI.
            d2: The posts for CVO.
            origin: What the chains were made for, and how.

        Raises:
            InputError: See the class.
            ImageError: An image cannot be read; the message names the post.
        """
        digests = {post.id: post_digest(post) for post in (*d1, *d2)}
        d1_ids, d2_ids = tuple(post.id for post in d1), tuple(post.id for post in d2)
        return cls(tuple(chains), d1_ids, d2_ids, digests, origin)

    def counts(self, posts: Iterable[Post] | None = None) -> ChainCounts:
        """Count the chains.

        Args:
            posts: The posts of the set, for the strata. None: strata are not counted.

        Raises:
            InputError: A post with chains is missing.
        """
        by_id = None if posts is None else self._given(posts)
        return ChainCounts(
            len(self.chains),
            (len(self.d1), len(self.d2)),
            _tally(chain.style for chain in self.chains),
            _tally(chain.author for chain in self.chains),
            _tally(chain.problem.split(":")[0] for chain in self.chains if chain.problem),
            None if by_id is None else _tally(stratum(by_id[chain.post_id]) for chain in self.chains),
            None if by_id is None else _tally(by_id[chain.post_id].task for chain in self.chains),
        )

    def usable_for(
        self,
        posts: Sequence[Post],
        box_format: BoxFormat,
        labels: Iterable[str],
        *,
        resize: ResizeRule | None = None,
        limit: int | None = None,
    ) -> None:
        """Check that a model can be trained on these chains: they were written for this kind of model and these posts.

        Args:
            posts: The posts to train on, in any order; every image is decoded once.
            box_format: The coordinate convention of the model that learns.
            labels: Names of the entity types, in any order.
            resize: The resize of its processor. None: not compared.
            limit: Maximum number of characters of its reasoning. None: not compared.

        Raises:
            InputError: Another coordinate convention, other labels, posts that are missing, added or changed, or a
                chain that is too long for the model's answers.
            ImageError: An image cannot be read; the message names the post.
        """
        origin, names = self.origin, tuple(labels)
        expected = _coordinates(origin.box_format, origin.resize if resize else None)
        given = _coordinates(box_format, resize)
        if given != expected:
            raise _unusable("Its chains use another coordinate convention than the model", given, expected)
        if set(names) != set(origin.labels):
            raise _unusable("Its chains have other entity types", ", ".join(names), ", ".join(origin.labels))
        long = [] if limit is None else [chain for chain in self.chains if len(chain.reasoning) > limit]
        if long:
            examples = ", ".join(f"{chain.post_id} ({len(chain.reasoning)} characters)" for chain in long[:3])
            fact = f"{len(long)} chains are longer than the model's reasoning may be"
            raise _unusable(fact, examples, f"up to {limit} characters")
        self._check_posts(posts)

    def save(self, folder: str | os.PathLike[str], posts: Iterable[Post] | None = None) -> Path:
        """Write the set as a folder that `load` and Hugging Face `datasets` can read; replaces a set in this folder.

        `chains.jsonl` has one `Chain.to_record` per line, `split.json` has the split and the origin of the set,
        `README.md` is a data set card, and `data/chains.parquet` is a table for `datasets.load_dataset(folder)`. Its
        columns are strings: `post_id`, `split` (`d1` or `d2`), `style`, `author`, `problem` (empty: none), `reasoning`,
        `answer` (a JSON list of `{"span", "start", "end", "type", "box"}`: character offsets, boxes `[x1, y1, x2, y2]`
        in pixels of the original image or null; `picture` is the number of the image of a box that is not in the first,
        `more_boxes` are the further boxes of an expression) and, with `posts`, `text`. The files are replaced together:
        an interruption leaves either the old or the new set. Images are not saved.

        Args:
            folder: The folder; other files in it are kept.
            posts: The posts of the set, for their texts and strata.

        Returns:
            The folder.

        Raises:
            InputError: A post with chains is missing, or a text is not Unicode; the message names the post.
        """
        folder, by_id = Path(folder), None if posts is None else self._given(posts)
        table = self._table(by_id)
        card = render_dataset_card(self.origin, self.counts(None if by_id is None else by_id.values()))
        chains = "".join(json.dumps(chain.to_record(), ensure_ascii=False) + "\n" for chain in self.chains)
        contents = {CARD_FILE: card, CHAINS_FILE: chains, SPLIT_FILE: _split_of(self)}
        files: dict[str, Callable[[Path], None]] = {TABLE_FILE: partial(_write_table, table)}
        replace_files(folder, files | {name: partial(_write, content) for name, content in contents.items()})
        return folder

    def push_to_hub(
        self, repo_id: str, posts: Iterable[Post] | None = None, *, private: bool = True, token: str | None = None
    ) -> str:
        """Upload the folder that `save` writes to the Hub as a data set.

        The licence of the posts applies to it, so check that licence first.

        Args:
            repo_id: `user/name`; created if it does not exist.
            posts: As for `save`; if given, the posts' texts are uploaded as well.
            private: Whether a new repository is private.
            token: Token of the Hub. None: that of the current login.

        Returns:
            The URL of the commit.

        Raises:
            InputError: See `save`.
            huggingface_hub.errors.HfHubHTTPError: The Hub refuses the upload.
        """
        with tempfile.TemporaryDirectory(prefix="gmner-reasoning-") as work:
            return upload(self.save(Path(work) / "set", posts), repo_id, "dataset", private=private, token=token)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ReasoningSet:
        """Read a set from `chains.jsonl` and `split.json`, without loss.

        Args:
            folder: A folder that `save` or a compile wrote, or the name `user/name` of a data set of the Hub.

        Raises:
            InputError: There is no reasoning set.
            DataError: A line is not a chain, its post is in neither half, or its post and style occurred before; or a
                post is in both halves, or the split has another fault. The message names file and line.
        """
        folder = folder_or_hub(folder, "Reasoning set", InputError, kind="dataset", files=(SPLIT_FILE, CHAINS_FILE))
        finish_replacing(folder, _FILES)
        split, path = folder / SPLIT_FILE, folder / CHAINS_FILE
        for file in (split, path):
            if not file.is_file():
                accepted = f"a folder with {SPLIT_FILE} and {CHAINS_FILE}"
                raise InputError("Not the folder of a reasoning set", received=str(file), accepted=accepted)
        with faults_of(str(split)):
            loaded = _read_split(split)
            members = _members(loaded.d1, loaded.d2, loaded.digests)
        chains, seen = list[Chain](), set[tuple[str, str]]()
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if line.strip():
                with faults_of(f"{path}:{number}"):
                    chains.append(chain_of(line))
                    _check_place(chains[-1], members, seen)
        return cls(tuple(chains), loaded.d1, loaded.d2, loaded.digests, loaded.origin)

    def _given(self, posts: Iterable[Post]) -> dict[str, Post]:
        """The posts that have chains, by id."""
        by_id = {post.id: post for post in posts}
        needed = dict.fromkeys(chain.post_id for chain in self.chains)
        missing = next((post_id for post_id in needed if post_id not in by_id), None)
        if missing is not None:
            raise InputError("A post with chains is missing", received=missing, accepted="all posts of the set")
        return {post_id: by_id[post_id] for post_id in needed}

    def _check_posts(self, posts: Sequence[Post]) -> None:
        now = {post.id: post_digest(post) for post in posts}
        missing = [post_id for post_id in self.digests if post_id not in now]
        further = [post_id for post_id in now if post_id not in self.digests]
        changed = [post_id for post_id, digest in now.items() if self.digests.get(post_id, digest) != digest]
        kinds = {"missing": missing, "not in it": further, "changed since": changed}
        faults = [f"{len(ids)} {kind} ({', '.join(ids[:3])})" for kind, ids in kinds.items() if ids]
        if faults:
            accepted = f"the {len(self.digests)} posts with the same text, gold annotation, scene and image"
            raise _unusable("It was made for other posts", "; ".join(faults), accepted)

    def _table(self, posts: Mapping[str, Post] | None) -> datasets.Dataset:
        """The chains as a table, see `save`; with the posts' texts if these are given."""
        from datasets import Dataset, Features, Value

        columns: dict[str, list[str]] = {name: [] for name in (*_COLUMNS, *([] if posts is None else ["text"]))}
        halves = dict.fromkeys(self.d1, "d1") | dict.fromkeys(self.d2, "d2")
        for chain in self.chains:
            answer = json.dumps(list(chain.entities), ensure_ascii=False)
            row = {**chain.to_record(), "split": halves[chain.post_id], "answer": answer}
            row |= {} if posts is None else {"text": posts[chain.post_id].text}
            for name, column in columns.items():
                column.append(_unicode(chain.post_id, name, row[name]))
        return Dataset.from_dict(columns, features=Features({name: Value("string") for name in columns}))


def post_digest(post: Post) -> str:
    """Sixteen hexadecimal digits of everything that a chain is written from: text, gold, scene and pixels.

    The digest is the same for an image in memory and for a lossless file of it.

    Raises:
        ImageError: The image cannot be read; the message names the post.
    """
    gold = [(e.span, e.start, e.end, e.type, [_corners(box) for box in e.boxes]) for e in post.gold]
    scene = None if post.scene is None else [(thing.name, thing.type, _corners(thing.box)) for thing in post.scene]
    content = [post.text, gold, scene, *(["no regions"] if not post.grounded else [])]
    digest = hashlib.sha256(json.dumps(content).encode())
    for source in post.images:
        with located(f"post {post.id!r}"):
            image = open_image(source)
        digest.update(f"{image.size}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()[:16]


def _corners(box: Box) -> list[float]:
    return [float(value) for value in box_data(box)]


def _tally(names: Iterable[str]) -> dict[str, int]:
    """Name -> number of occurrences, the most frequent first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _members(d1: Sequence[str], d2: Sequence[str], digests: Mapping[str, str]) -> set[str]:
    """The posts of a split, after checking that it is one."""
    both = set(d1) & set(d2)
    if both:
        raise InputError("A post is in both D1 and D2", received=min(both), accepted="each post in one of them")
    twice = next((post_id for post_id, count in Counter((*d1, *d2)).items() if count > 1), None)
    if twice is not None:
        raise InputError("A post occurs twice in one half of the split", received=twice)
    members = {*d1, *d2}
    if members != digests.keys():
        raise InputError("The digests belong to other posts", received=sorted(members ^ digests.keys())[:5])
    return members


def _check_place(chain: Chain, members: set[str], seen: set[tuple[str, str]]) -> None:
    """Check that a chain belongs to a set, and add it to those seen."""
    if chain.post_id not in members:
        raise InputError("The post of a chain is neither in D1 nor in D2", received=chain.post_id)
    key = (chain.post_id, chain.style)
    if key in seen:
        raise InputError("A post has two chains in the same style", received=key)
    seen.add(key)


def _coordinates(box_format: BoxFormat, resize: ResizeRule | None) -> str:
    """What the numbers of a box depend on besides the image, as text."""
    order = "" if box_format.order == "xyxy" else f", {box_format.order}"
    if box_format.frame == "normalized":
        form = "" if box_format.form == "integers" else ", written as decimals from 0 to 1"
        return f"normalized, 0 to {box_format.scale}{form}{order}"
    if box_format.frame == "original" or resize is None:
        return box_format.frame + order
    sides = f"sides a multiple of {resize.factor}, {resize.min_pixels} to {resize.max_pixels} pixels"
    return f"resized, {sides}{order}"


def _unusable(fact: str, received: object, accepted: str) -> InputError:
    return InputError(
        f"The reasoning set cannot be used here. {fact}", received=received, accepted=accepted, remedy=_REMEDY
    )


class _Split(BaseModel):
    """The content of `split.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    origin: Origin
    d1: tuple[str, ...]
    d2: tuple[str, ...]
    digests: dict[str, str]


def _split_of(reasoning: ReasoningSet) -> str:
    split = _Split(origin=reasoning.origin, d1=reasoning.d1, d2=reasoning.d2, digests=dict(reasoning.digests))
    return split.model_dump_json(indent=1) + "\n"


def _read_split(path: Path) -> _Split:
    try:
        return _Split.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError("not the split of a reasoning set", received=where, remedy=first["msg"]) from error


def _unicode(post_id: str, name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        remedy = f"Leave this post out: {error}"
        raise InputError(
            f"post {post_id!r}: `{name}` cannot be encoded as UTF-8", received=value, remedy=remedy
        ) from error
    return value


def _write(content: str, path: Path) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_table(table: datasets.Dataset, path: Path) -> None:
    """Write the table as parquet, without a progress bar of the library."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        table.to_parquet(str(path))
    finally:
        if shown:
            datasets.enable_progress_bars()
