"""Five real photographs of other Python packages, with posts written for them and boxes drawn by hand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.readers.image_folder import Folders, given_folders
from gmner.data.readers.reader import DatasetLocation, Reader
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph that another package contains.

    Attributes:
        package: The name of the package on PyPI.
        module: Its module, in whose folder the file is.
        path: The file, relative to the folder of the module.
        sha256: Digest of the file for which the boxes were drawn.
        licence: The licence, as the package states it.
        source: Who made the photograph, and where the package states it.
    """

    package: str
    module: str
    path: str
    sha256: str
    licence: str
    source: str


_SKIMAGE, _SKLEARN = ("scikit-image", "skimage"), ("scikit-learn", "sklearn")

PHOTOS = {
    "astronaut": Photo(
        *_SKIMAGE,
        "data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "public domain",
        "NASA, Great Images database; docstring of `skimage.data.astronaut`",
    ),
    "rocket": Photo(
        *_SKIMAGE,
        "data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "public domain",
        "SpaceX; docstring of `skimage.data.rocket`",
    ),
    "coffee": Photo(
        *_SKIMAGE,
        "data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "CC0",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar; docstring of `skimage.data.coffee`",
    ),
    "chelsea": Photo(
        *_SKIMAGE,
        "data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "CC0",
        "Stefan van der Walt; docstring of `skimage.data.chelsea`",
    ),
    "china": Photo(
        *_SKLEARN,
        "datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "CC BY 2.0",
        "danielbuechele on Flickr; `sklearn/datasets/images/README.txt`",
    ),
}
"""The photographs by name."""

# Boxes in pixels of the photographs, drawn by hand and checked on enlarged copies. A person or animal is boxed as
# far as the image shows it. A place is boxed if its building, lake or island can be seen; a city or region is not.
# Emblems, patches and flags count as what they stand for.
_COLLINS, _SHUTTLE, _FLAG, _PATCH = (20, 14, 364, 512), (355, 0, 460, 272), (0, 0, 97, 512), (134, 346, 210, 424)
_FALCON, _EMBLEM = (311, 126, 335, 407), (313, 143, 332, 156)
_CAT = (0, 0, 402, 300)
_TOWER, _ISLAND, _BRIDGE = (63, 30, 372, 427), (424, 226, 501, 243), (384, 230, 425, 239)
# The tower covers the middle of the lake: all of it, and its larger part.
_LAKE, _LAKE_EAST = (0, 215, 575, 331), (326, 218, 573, 331)

_Corners = tuple[int, int, int, int]
_Name = tuple[str, str, *tuple[_Corners, ...]]

# Name of the photograph, slice, text, and for each name its words, type and boxes. Each name occurs once in its text.
_POSTS: tuple[tuple[str, str, str, tuple[_Name, ...]], ...] = (
    (
        "astronaut",
        "shown",
        "Eileen Collins poses with a model of the Space Shuttle",
        (("Eileen Collins", "PER", _COLLINS), ("Space Shuttle", "OTHER", _SHUTTLE)),
    ),
    (
        "astronaut",
        "mixed",
        "Before Eileen Collins flew for NASA , Sally Ride had shown the way",
        (("Eileen Collins", "PER", _COLLINS), ("NASA", "ORG"), ("Sally Ride", "PER")),
    ),
    (
        "astronaut",
        "shown",
        "Colonel Collins in front of the Stars and Stripes , with the patch of STS-93 on her suit",
        (("Collins", "PER", _COLLINS), ("Stars and Stripes", "OTHER", _FLAG), ("STS-93", "OTHER", _PATCH)),
    ),
    (
        "astronaut",
        "lookalike",
        "On this day in 1963 , Valentina Tereshkova became the first woman in space",
        (("Valentina Tereshkova", "PER"),),
    ),
    (
        "rocket",
        "shown",
        "Falcon 9 stands on the pad at dusk , with the emblem of DSCOVR on its nose",
        (("Falcon 9", "OTHER", _FALCON), ("DSCOVR", "OTHER", _EMBLEM)),
    ),
    (
        "rocket",
        "mixed",
        "Will Elon Musk watch Falcon 9 from Cape Canaveral ?",
        (("Elon Musk", "PER"), ("Falcon 9", "OTHER", _FALCON), ("Cape Canaveral", "LOC")),
    ),
    (
        "rocket",
        "lookalike",
        "For years Arianespace launched Ariane 5 from Kourou",
        (("Arianespace", "ORG"), ("Ariane 5", "OTHER"), ("Kourou", "LOC")),
    ),
    (
        "coffee",
        "absent",
        "The best espresso in Montreal is at Pikolo Espresso Bar",
        (("Montreal", "LOC"), ("Pikolo Espresso Bar", "ORG")),
    ),
    (
        "coffee",
        "lookalike",
        "Starbucks has new cups , and Nespresso has George Clooney",
        (("Starbucks", "ORG"), ("Nespresso", "ORG"), ("George Clooney", "PER")),
    ),
    ("coffee", "empty", "no talking before the first cup please", ()),
    ("chelsea", "shown", "Chelsea would like her breakfast now", (("Chelsea", "OTHER", _CAT),)),
    (
        "chelsea",
        "mixed",
        "Stefan van der Walt took this picture of Chelsea",
        (("Stefan van der Walt", "PER"), ("Chelsea", "OTHER", _CAT)),
    ),
    (
        "chelsea",
        "lookalike",
        "Chelsea beat Arsenal 2-1 at Stamford Bridge",
        (("Chelsea", "ORG"), ("Arsenal", "ORG"), ("Stamford Bridge", "LOC")),
    ),
    ("chelsea", "lookalike", "Even Garfield looks friendlier on a Monday", (("Garfield", "OTHER"),)),
    (
        "china",
        "shown",
        "The Tower of Buddhist Incense above Kunming Lake",
        (("Tower of Buddhist Incense", "LOC", _TOWER), ("Kunming Lake", "LOC", _LAKE_EAST, _LAKE)),
    ),
    (
        "china",
        "mixed",
        "From up here you see Nanhu Island and the Seventeen-Arch Bridge , but not Beijing",
        (
            ("Nanhu Island", "LOC", _ISLAND),
            ("Seventeen-Arch Bridge", "LOC", _BRIDGE),
            ("Beijing", "LOC"),
        ),
    ),
    (
        "china",
        "lookalike",
        "The Temple of Heaven and Himeji Castle are both on our list for Asia",
        (("Temple of Heaven", "LOC"), ("Himeji Castle", "LOC"), ("Asia", "LOC")),
    ),
)


def real_photos(images: Folders | None = None) -> Posts:
    """Read posts with five real photographs, which scikit-image and scikit-learn contain.

    The photographs are not part of this package; they are read from the installed packages, without importing them. The
    texts and boxes were made for this package. Each photograph has posts whose names it shows, whose names it does not
    show, and whose names could be mistaken for what it shows (`slice` is `lookalike`). The types are PER, LOC, ORG and
    OTHER; boxes are pixels of the photograph.

    There are too few posts for a score. Use them to try out a model on photographs, which the synthetic world does not
    have. `gmner.data.readers.real_photos.PHOTOS` states licence and source of each photograph.

    Args:
        images: One or several folders with copies of the five files; None: the installed packages.

    Returns:
        The posts. Their ids are the name of the photograph and a number, such as `rocket-1`.

    Raises:
        InputError: A package is not installed or does not contain its photograph, or a folder does not exist.
        DataError: A file is not the photograph for which the boxes were drawn.

    Example:
        >>> posts = real_photos()  # doctest: +SKIP
        >>> posts[0].text, posts[0].entities[0].boxes  # doctest: +SKIP
        ('Eileen Collins poses with a model of the Space Shuttle', (Box(x1=20.0, y1=14.0, x2=364.0, y2=512.0),))
    """
    folders = None if images is None else given_folders(images)
    files = {name: _checked(_file(photo, folders), photo) for name, photo in PHOTOS.items()}
    counts = dict.fromkeys(PHOTOS, 0)
    posts = []
    for name, slice_, text, names in _POSTS:
        counts[name] += 1
        entities = tuple(_entity(text, *entity) for entity in names)
        posts.append(Post(f"{name}-{counts[name]}", text, files[name], entities, slice=slice_))
    return Posts(posts)


def _entity(text: str, span: str, kind: str, *boxes: _Corners) -> GoldEntity:
    start = text.index(span)
    return GoldEntity(span, start, start + len(span), kind, tuple(Box(*map(float, corners)) for corners in boxes))


def _file(photo: Photo, folders: list[Path] | None) -> Path:
    """The file of a photograph in the folders, or in its installed package."""
    if folders is not None:
        places = [folder / Path(photo.path).name for folder in folders]
        remedy = f"Copy {photo.path} of the package {photo.package} there"
    else:
        spec = find_spec(photo.module)
        places = [Path(root) / photo.path for root in (spec and spec.submodule_search_locations) or ()]
        remedy = f"pip install {photo.package}, or pip install 'gmner[photos]'"
    for place in places:
        if place.is_file():
            return place
    if not places:
        raise InputError(f"The photograph {Path(photo.path).name} belongs to {photo.package}, which is not installed",
                         remedy=remedy)  # fmt: skip
    raise InputError(f"A photograph of {photo.package} was not found", received=str(places[0]), remedy=remedy)


def _checked(path: Path, photo: Photo) -> Path:
    if hashlib.sha256(path.read_bytes()).hexdigest() != photo.sha256:
        raise DataError(
            f"{path}: not the photograph for which the boxes were drawn",
            accepted=f"{Path(photo.path).name} of {photo.package}",
            remedy=f"Install a version of {photo.package} that contains it",
        )
    return path


def _read(location: DatasetLocation) -> Posts:
    return real_photos(location.images)


REAL_PHOTOS = Reader("real-photos", _read, needs_path=False)
