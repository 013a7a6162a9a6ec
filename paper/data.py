"""`PaperData`: the data sets of the paper, read from their folders, or in small from the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gmner.data.mixing import mix_posts, rename_types
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
_SMALL_TRAIN, _SMALL_TEST, _SMALL_RELATED = 80, 120, 40


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
        images: Image folders for all data sets; empty: those beside each data set, see its reader.
    """

    gmner: Path | None = None
    fmnerg: Path | None = None
    mner_mi: Path | None = None
    grec: Path | None = None
    instances: Path | None = None
    images: tuple[Path, ...] = ()


_OTHER = {"MIS": "OTHER", "MISC": "OTHER"}
"""Types of MNER-MI that Twitter-GMNER calls by another name."""


def read_data(roots: Roots, *, fine: bool = True) -> PaperData:
    """Read the data sets.

    Expressions are filtered to at most one target, as in the paper. The type MIS of MNER-MI is read as OTHER, as
    Twitter-GMNER calls it, because both are trained with the same types (ours).

    Args:
        roots: The folders; Twitter-GMNER is required.
        fine: Use the 51 fine types of Twitter-FMNERG; False: its 8 coarse types.

    Raises:
        InputError: Twitter-GMNER is missing, gRefCOCO is given without `instances`, or no image of a data set exists.
        DataError: A file does not follow its format.
    """
    if roots.gmner is None:
        raise InputError("Twitter-GMNER is missing", accepted="--gmner FOLDER", remedy="Or try the world with --small")
    if roots.grec is not None and roots.instances is None:
        raise InputError("gRefCOCO requires the boxes of COCO", accepted="--instances instances.json")
    images = roots.images or None
    own, dev, test = (read_twitter_gmner(roots.gmner, split, images) for split in ("train", "dev", "test"))
    train, tests = {"Twitter-GMNER": own}, {GMNER_TEST: test}
    if roots.mner_mi is not None:
        names = [rename_types(read_mner_mi(roots.mner_mi, split, images), _OTHER) for split in ("train", "test")]
        train[MNER_TEST], tests[MNER_TEST] = names
    if roots.grec is not None and roots.instances is not None:
        splits = ("train", "testA", "testB")
        read = [read_grec(roots.grec, roots.instances, split, images, most_targets=1) for split in splits]
        train["GREC"], tests["GREC testA"], tests["GREC testB"] = read
    for name, posts in train.items():
        _check_images(name, posts)
    data = PaperData(
        ", ".join(train), tuple(mix_posts(*train.values())), tuple(dev),
        {name: tuple(posts) for name, posts in tests.items()},
    )  # fmt: skip
    return data if roots.fmnerg is None else _with_fine_types(data, roots.fmnerg, images, fine=fine)


def _check_images(name: str, posts: Sequence[Post]) -> None:
    """Refuse a data set without any image: its folder of images was not found."""
    if posts and not any(post.images for post in posts):
        remedy = "Pass the image folders of all data sets with --images"
        raise InputError(f"No image of {name} was found", received=f"{len(posts)} training posts", remedy=remedy)


def _with_fine_types(data: PaperData, root: Path, images: Sequence[Path] | None, *, fine: bool) -> PaperData:
    kind: Literal["fine", "coarse"] = "fine" if fine else "coarse"
    train, test = (tuple(read_twitter_fmnerg(root, split, images, granularity=kind)) for split in ("train", "test"))
    _check_images("Twitter-FMNERG", train)
    types = sorted({entity.type for post in train for entity in post.gold})
    return replace(
        data, fine_train=train, fine_labels=as_labels(types), tests={**data.tests, FINE_TEST: test}
    )  # fmt: skip


def small_data(seed: int = 0, *, train: int = _SMALL_TRAIN, test: int = _SMALL_TEST, fine: bool = True) -> PaperData:
    """Posts of the world in the form of the data sets, so that every table can be computed in minutes.

    Args:
        seed: Seed of the world.
        train: Training posts of each task.
        test: Test posts of each task, of the related tasks at most 40.
        fine: Name the kind of an entity as its type (`OTHER-guitar`) where the real data has 51 types; False: the four
            types of the world.
    """
    world = World(seed)
    gmner = world.posts("train", train)
    related = name_posts(world, "train", train, start=train), expression_posts(world, "train", train, start=2 * train)
    fewer = min(test, _SMALL_RELATED)  # the embedded model, untrained, takes long for them
    tests = {
        GMNER_TEST: world.posts("test", test),
        MNER_TEST: name_posts(world, "test", fewer, start=test),
        "GREC testA": expression_posts(world, "test", fewer, start=2 * test),
        "GREC testB": expression_posts(world, "test", fewer, start=3 * test),
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
