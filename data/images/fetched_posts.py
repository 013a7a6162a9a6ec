"""`fetch_posts`: downloads the images of posts and writes posts and images as a local folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tqdm import tqdm

from gmner.data.files.atomic import atomic_path
from gmner.data.files.leftovers import clear_leftovers
from gmner.data.files.locks import FOLDER_LOCK, InUse, take_lock
from gmner.data.images.fetching import fetch
from gmner.data.images.opening import open_image
from gmner.data.jsonl import parse_posts, write_records, written_post
from gmner.data.oddities import Oddity, Posts
from gmner.data.post import Post
from gmner.data.records import checked_path
from gmner.signatures.errors import ImageError, InputError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


class FetchedPosts(Posts):
    """Posts whose images were fetched.

    Attributes:
        addresses: Number of distinct URLs in the posts.
        failed: Number of URLs that could not be fetched; each is reported as an oddity.
    """

    def __init__(self, posts: Iterable[Post], failed: Mapping[str, str], addresses: int) -> None:
        super().__init__(posts, [Oddity("not_fetched", url, reason) for url, reason in failed.items()])
        self.addresses, self.failed = addresses, len(failed)


def fetch_posts(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    threads: int = 16,
    progress: bool = True,
) -> FetchedPosts:
    """Fetch the images of posts, and write posts and images to a folder that `read_posts` reads.

    `image` and `more_images` may be `http` and `https` URLs. Each URL is fetched once with
    `gmner.data.images.fetching.fetch`, from public addresses only and limited in size and time. Image files are copied.
    If a URL cannot be fetched, the post keeps a path to a missing file, so a program reports an error instead of
    answering without the image. If the folder already contains images, only the missing and broken ones are fetched.

    Args:
        source: The JSONL file, see `read_posts`.
        folder: The folder for `posts.jsonl` and `images/`.
        images: The folder of image files; None: the folder of `source`.
        threads: Number of images to fetch in parallel.
        progress: Show a progress bar.

    Returns:
        The posts with their images in `folder`, and an oddity of kind `not_fetched` for each URL that failed.

    Raises:
        InputError: The file does not exist, the new `posts.jsonl` would replace it, or another process is fetching into
            the folder.
        DataError: A line is not a post; raised before anything is fetched.
        ImageError: An image file does not exist.
    """
    source, folder = Path(source), Path(folder)
    if (folder / "posts.jsonl").resolve() == source.resolve():
        raise InputError(
            "The fetched posts would replace the input file", received=str(source), remedy="Fetch into another folder"
        )
    root, addresses = source.parent if images is None else Path(images), dict[Path, str]()

    def image_path(value: object) -> Path:
        if not isinstance(value, str) or not value.lower().startswith(("http://", "https://")):
            return checked_path(value, root)
        path = folder / "images" / _name(value)
        addresses[path] = value
        return path

    posts = [post for _, post in parse_posts(source, image_path)]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        failed = _fetch_all(addresses, threads, progress)
        write_records(
            folder / "posts.jsonl",
            (written_post(post, number, folder, addresses, root) for number, post in enumerate(posts)),
        )
    return FetchedPosts(posts, failed, len(set(addresses.values())))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder, and remove the temporary files of killed processes."""
    try:
        lock = take_lock(folder / FOLDER_LOCK)
    except InUse as error:
        remedy = "Wait for it to end, or fetch into another folder"
        raise InputError(f"The folder is in use by {error.holder}", received=str(folder), remedy=remedy) from error
    try:
        for path in (folder, folder / "images"):
            clear_leftovers(path)
        yield
    finally:
        if lock is not None:
            lock.release()


def _name(address: str) -> str:
    """A unique file name for a URL, with the suffix of the URL if it is an image suffix."""
    try:
        suffix = PurePosixPath(urlsplit(address).path).suffix.lower()
    except ValueError:  # malformed; fetching it reports the error
        suffix = ""
    digest = hashlib.sha256(address.encode(errors="surrogatepass")).hexdigest()[:24]
    return digest + (suffix if suffix in _SUFFIXES else "")


def _fetch_all(addresses: Mapping[Path, str], threads: int, progress: bool) -> dict[str, str]:
    """Fetch URLs to files, and return the reason for each URL that failed."""
    failed = {}
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(_fetch_one, addresses, addresses.values())
        try:
            bar = tqdm(results, "images", len(addresses), unit="image", disable=not progress or len(addresses) < 4)
            for address, reason in zip(addresses.values(), bar, strict=True):
                if reason:
                    failed[address] = reason
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return failed


def _fetch_one(path: Path, address: str) -> str:
    """Fetch an image, and return why it failed, or an empty string."""
    if path.is_file() and _decodes(path):
        return ""
    path.unlink(missing_ok=True)
    try:
        data = fetch(address)
        # Without a Content-Length, a broken transfer looks complete, so the image is decoded as a check.
        open_image(data)
    except ImageError as error:
        return str(error)
    with atomic_path(path) as name:
        name.write_bytes(data)
    return ""


def _decodes(path: Path) -> bool:
    """Whether a file is a complete image."""
    try:
        open_image(path)
    except ImageError:
        return False
    return True
