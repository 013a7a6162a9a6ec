"""Opening the images of untrusted posts."""

import base64
import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from gmner.data.images.opening import image_size, open_image
from gmner.signatures.errors import ImageError

RED = (255, 0, 0)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def header_only_png(width, height):
    """A PNG with a size in its header and no pixels."""
    parts = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def marked(size=(40, 20)):
    """A white image with a red top left quarter."""
    image = Image.new("RGB", size, "white")
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return image


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    marked().save(path)
    return path


def test_every_image_source_gives_the_same_image(picture):
    data = picture.read_bytes()
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    sources = [picture, str(picture), data, uri, Image.open(picture)]
    for source in sources:
        image = open_image(source)
        assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (40, 20), RED)
        assert image_size(source) == (40, 20)


def test_image_of_the_caller_is_copied(picture):
    mine = marked()
    open_image(mine).paste((0, 0, 0), (0, 0, 40, 20))
    assert mine.getpixel((0, 0)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_common_formats(kind):
    assert open_image(encoded(marked(), kind)).size == (40, 20)


def test_huge_image_is_refused_by_its_header():
    began = time.perf_counter()
    for opener in (open_image, image_size):
        with pytest.raises(ImageError, match="64,000,000 pixels"):
            opener(header_only_png(30_000, 30_000))
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("size", [(101, 100), (9_000, 9_000), (20_000, 10_000)])
def test_pixel_limit_is_an_argument(size):
    with pytest.raises(ImageError, match="10,000 pixels"):
        open_image(header_only_png(*size), max_pixels=10_000)
    assert open_image(Image.new("RGB", (100, 100)), max_pixels=10_000).size == (100, 100)
    with pytest.raises(ImageError, match="too large"):
        open_image(Image.new("RGB", (101, 100)), max_pixels=10_000)


def test_too_many_bytes(picture):
    data = picture.read_bytes()
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (picture, data, uri):
        with pytest.raises(ImageError, match="at most 20 bytes"):
            open_image(source, max_bytes=20)


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ("https://example.org/a.png", "URL"),
        ("file:///etc/passwd", "URL"),
        ("missing.png", "missing"),
        ("a\x00b", "image"),
        ("x" * 5000, "image"),
        (".", "not a regular file"),
        (b"", "broken"),
        (b"GIF89a not really", "broken"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "broken"),
        ("data:image/png,abc", "must be base64"),
        ("data:image/png;base64,%%%", "invalid base64"),
        ("data:image/png;base64,AAAA", "broken"),
        (7, "Not an image"),
        (header_only_png(0, 5), "broken|no pixels"),
    ],
)
def test_each_refusal(source, fact):
    with pytest.raises(ImageError, match=fact) as caught:
        open_image(source)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_truncated_image(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    for length in (len(data) // 2, 30):
        with pytest.raises(ImageError, match="broken or truncated"):
            open_image(data[:length])


def test_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not a regular file"):
        open_image(tmp_path / "a.png")


def test_path_cannot_lead_out_of_the_root(tmp_path, picture):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "in.png").write_bytes(picture.read_bytes())
    (root / "out.png").symlink_to(picture)
    (root / "same.png").symlink_to(root / "in.png")
    for inside in ("in.png", "sub/../in.png", root / "in.png", "same.png"):
        assert open_image(inside, root=root).size == (40, 20)
    for outside in ("../a.png", picture, str(picture), "out.png", "sub/../../a.png"):
        with pytest.raises(ImageError, match="outside the image folder"):
            open_image(outside, root=root)
        with pytest.raises(ImageError, match="outside the image folder"):
            image_size(outside, root=root)


def test_circular_links_raise_image_error(tmp_path):
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    with pytest.raises(ImageError):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation, kind):
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = marked() if turned is None else marked().transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif)
    image = open_image(data)
    assert image.size == image_size(data) == (40, 20)
    assert np.abs(np.array(image.getpixel((3, 3))) - RED).max() < 60
    assert min(image.getpixel((36, 3))) > 200
    assert min(image.getpixel((3, 16))) > 200


def test_other_modes_become_rgb():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    grey16 = Image.fromarray(np.full((4, 4), 257 * 100, dtype=np.uint16))
    assert open_image(encoded(grey16)).getpixel((0, 0)) == (100, 100, 100)
    assert open_image(Image.new("F", (4, 4), 100.0)).getpixel((0, 0)) == (100, 100, 100)
    assert open_image(Image.new("CMYK", (4, 4), (0, 255, 255, 0))).getpixel((0, 0)) == RED
    palette = marked().convert("P", palette=Image.Palette.ADAPTIVE)
    assert open_image(encoded(palette)).getpixel((0, 0)) == RED
    assert open_image(Image.new("1", (4, 4), 1)).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(Image.new("L", (4, 4), 9)).getpixel((0, 0)) == (9, 9, 9)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = open_image(data).getpixel((4, 4))
    assert red > 200 > 60 > blue


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_ignored():
    data = encoded(marked(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert open_image(data).size == (40, 20)
