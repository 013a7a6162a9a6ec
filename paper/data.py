"""`PaperData`: the data sets of the paper, read from their folders, or in small from the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gmner.data.mixing import mix_posts
from gmner.data.post import Post
from gmner.data.readers.grec import read_grec
from gmner.data.readers.mner_mi import read_mner_mi
from gmner.data.readers.twitter import read_twitter_fmnerg, read_twitter_gmner
from gmner.data.world.cast import called
from gmner.data.world.generate import World
from gmner.data.world.related import expression_posts, name_posts
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet, as_labels
from gmner.signatures.mentions import GoldEntity

GMNER_TEST, MNER_TEST, FINE_TEST = "GMNER", "MNER-MI", "FMNERG"
_SMALL_TRAIN, _SMALL_TEST = 80, 120


@dataclass(frozen=True)
class PaperData:
    """Training and test posts of the paper's experiments.

    Attributes:
        name: Where the posts are from.
        train: Posts of all tasks that there are, ids unique.
        dev: Posts of GMNER on which stages are chosen; empty: the last stage is used.
        tests: Name -> test posts: `GMNER`, `MNER-MI`, `FMNERG`, and the splits of GREC.
        fine_train: Training posts with fine types; empty: there are none.
        fine_labels: The fine types.
    """

    name: str
    train: tuple[Post, ...]
    dev: tuple[Post, ...] = ()
    tests: Mapping[str, tuple[Post, ...]] = field(default_factory=dict)
    fine_train: tuple[Post, ...] = ()
    fine_labels: LabelSet = COARSE

    def test(self, name: str) -> tuple[Post, ...]:
        """The posts of a test set.

        Raises:
            InputError: It was not given.
        """
        if not self.tests.get(name):
            remedy = "Pass its folder, or --small for the world"
            raise InputError("A test set is missing", received=name, accepted=", ".join(self.tests), remedy=remedy)
        return self.tests[name]


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the data sets are; None: not used.

    Attributes:
        gmner: Folder of Twitter-GMNER.
        fmnerg: Folder of Twitter-FMNERG.
        mner_mi: Folder of MNER-MI.
        grec: The file `grefs(unc).json` of gRefCOCO.
        instances: COCO's `instances.json`, for gRefCOCO.
    """

    gmner: Path | None = None
    fmnerg: Path | None = None
    mner_mi: Path | None = None
    grec: Path | None = None
    instances: Path | None = None


def read_data(roots: Roots, *, fine: bool = True) -> PaperData:
    """Read the data sets. Expressions are filtered to at most one target, as in the paper.

    Args:
        roots: The folders; Twitter-GMNER is required.
        fine: Use the 51 fine types of Twitter-FMNERG; False: its 8 coarse types.

    Raises:
        InputError: Twitter-GMNER is missing, or gRefCOCO is given without `instances`.
        DataError: A file does not follow its format.
    """
    if roots.gmner is None:
        raise InputError("Twitter-GMNER is missing", accepted="--gmner FOLDER", remedy="Or try the world with --small")
    if roots.grec is not None and roots.instances is None:
        raise InputError("gRefCOCO requires the boxes of COCO", accepted="--instances instances.json")
    train, tests = [read_twitter_gmner(roots.gmner, "train")], {GMNER_TEST: read_twitter_gmner(roots.gmner, "test")}
    names = ["Twitter-GMNER"]
    if roots.mner_mi is not None:
        train.append(read_mner_mi(roots.mner_mi, "train"))
        tests[MNER_TEST] = read_mner_mi(roots.mner_mi, "test")
        names.append("MNER-MI")
    if roots.grec is not None and roots.instances is not None:
        train.append(read_grec(roots.grec, roots.instances, "train", most_targets=1))
        for split in ("testA", "testB"):
            tests[f"GREC {split}"] = read_grec(roots.grec, roots.instances, split, most_targets=1)
        names.append("GREC")
    data = PaperData(
        ", ".join(names), tuple(mix_posts(*train)), tuple(read_twitter_gmner(roots.gmner, "dev")),
        {name: tuple(posts) for name, posts in tests.items()},
    )  # fmt: skip
    return data if roots.fmnerg is None else _with_fine_types(data, roots.fmnerg, fine=fine)


def _with_fine_types(data: PaperData, root: Path, *, fine: bool) -> PaperData:
    kind: Literal["fine", "coarse"] = "fine" if fine else "coarse"
    train, test = (tuple(read_twitter_fmnerg(root, split, granularity=kind)) for split in ("train", "test"))
    types = sorted({entity.type for post in train for entity in post.gold})
    return replace(
        data, fine_train=train, fine_labels=as_labels(types), tests={**data.tests, FINE_TEST: test}
    )  # fmt: skip


def small_data(seed: int = 0, *, train: int = _SMALL_TRAIN, test: int = _SMALL_TEST, fine: bool = True) -> PaperData:
    """Posts of the world in the form of the data sets, so that every table can be computed in minutes.

    Args:
        seed: Seed of the world.
        train: Training posts of each task.
        test: Test posts of each task.
        fine: Name the kind of an entity as its type (`OTHER-guitar`) where the real data has 51 types; False: the four
            types of the world.
    """
    world = World(seed)
    gmner = world.posts("train", train)
    related = name_posts(world, "train", train, start=train), expression_posts(world, "train", train, start=2 * train)
    tests = {
        GMNER_TEST: world.posts("test", test),
        MNER_TEST: name_posts(world, "test", test, start=test),
        "GREC testA": expression_posts(world, "test", test, start=2 * test),
        "GREC testB": expression_posts(world, "test", test, start=3 * test),
    }
    data = PaperData(
        f"the world (seed {seed})", tuple(mix_posts(gmner, *related)), (),
        {name: tuple(posts) for name, posts in tests.items()},
    )  # fmt: skip
    refined = tuple(map(_refined, gmner)), tuple(map(_refined, tests[GMNER_TEST]))
    types = sorted({entity.type for posts in refined for post in posts for entity in post.gold})
    if not fine:
        refined, types = (tuple(gmner), data.tests[GMNER_TEST]), list(COARSE.names)
    return replace(
        data, fine_train=refined[0], fine_labels=as_labels(types), tests={**data.tests, FINE_TEST: refined[1]}
    )


def _refined(post: Post) -> Post:
    """The post with the kind of each entity in its type. People and misspelled names keep their types."""
    return replace(post, entities=tuple(replace(entity, type=_fine_type(entity)) for entity in post.gold))


def _fine_type(entity: GoldEntity) -> str:
    if entity.type == "PER":
        return entity.type
    try:
        return f"{entity.type}-{called(entity.span, entity.type).kind}"
    except KeyError:
        return entity.type
