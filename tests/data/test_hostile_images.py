"""Images that try to start programs, to lead out of their folder, or to be decoded incorrectly."""

import base64
import io
import os
import re
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dspy
import numpy as np
import pytest
from PIL import Image, features

from gmner.data.files.atomic import encoded
from gmner.data.images import opened_file
from gmner.data.images.budget import ByteBudget
from gmner.data.images.opened_file import open_inside
from gmner.data.images.opening import image_size, open_image, open_lazily
from gmner.programs.prompt_images import load_picture
from gmner.signatures.errors import GmnerError, ImageError

ROOT = Path(__file__).parents[2]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n%%EOF\n"


def test_only_one_module_opens_images():
    rooms = [
        path for room in ("data", "programs", "optimizers", "signatures", "cli") for path in (ROOT / room).rglob("*.py")
    ]
    callers = [path for path in rooms if re.search(r"\bImage\.open\(", path.read_text(encoding="utf-8"))]
    assert callers == [ROOT / "data" / "images" / "opening.py"]


@pytest.mark.parametrize("data", [EPS, b"%PDF-1.4\n", b"\xd7\xcd\xc6\x9a" + bytes(40)], ids=["eps", "pdf", "wmf"])
def test_decoders_that_start_programs_are_disabled(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "a.jpg").write_bytes(data)
    uri = dspy.Image(url="data:image/jpeg;base64," + base64.b64encode(data).decode())
    sources = [data, tmp_path / "a.jpg"]
    if data is EPS:
        sources.append(Image.open(io.BytesIO(data)))  # an image object that is decoded lazily
    for source in sources:
        with pytest.raises(ImageError):
            open_image(source)
    with pytest.raises(ImageError):
        open_lazily(data)
    with pytest.raises(GmnerError):
        load_picture(uri)


def test_image_object_is_loaded_once_by_many_threads(tmp_path: Path):
    Image.effect_noise((300, 200), 60).convert("RGB").save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda _: (image_size(picture), open_image(picture).tobytes()), range(24)))
        assert len(set(found)) == 1
        assert picture.size == (300, 200)
        picture.load()  # still open


def test_image_object_is_saved_by_many_threads(tmp_path: Path):
    Image.effect_noise((300, 200), 60).convert("RGB").save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture, ThreadPoolExecutor(12) as pool:
        assert len(set(pool.map(lambda _: encoded(picture)[0], range(12)))) == 1


def test_image_object_with_a_closed_file_raises_image_error(tmp_path: Path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    picture = Image.open(tmp_path / "a.png")
    picture.close()
    with pytest.raises(ImageError):
        open_image(picture)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.5, 1.0]], [0, 128, 255]),
        ([[0.0, 100.0, 255.0]], [0, 100, 255]),
        ([[0.0, 65535.0, 25700.0]], [0, 255, 100]),
        ([[-10.0, 0.0, 10.0]], [0, 128, 255]),
        ([[float("nan"), 0.5, float("inf")]], [128, 128, 128]),
        ([[float("nan")] * 3], [0, 0, 0]),
        ([[-3e38, 0.0, 3e38]], [0, 128, 255]),
        ([[-3.4e38, float("nan"), float("inf")]], [0, 0, 0]),
        ([[0.0, 1e-45, -1e-45]], [128, 255, 0]),
    ],
)
def test_grey_floats_are_scaled_without_a_warning(values: list[list[float]], expected: list[int]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb = open_image(Image.fromarray(np.array(values, dtype=np.float32)))
    assert [rgb.getpixel((x, 0))[0] for x in range(3)] == expected


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("La", (50, 128), 177),
        ("RGBa", (50, 50, 50, 128), 177),
        ("PA", (0, 0), 255),
        ("LAB", (255, 128, 128), 255),
        ("HSV", (0, 0, 90), 90),
        ("YCbCr", (90, 128, 128), 90),
        ("CMYK", (0, 0, 0, 155), 100),
        ("1", 255, 255),
    ],
)
def test_every_mode_of_pillow_is_read(mode: str, pixel: object, expected: int):
    rgb = open_image(Image.new(mode, (3, 2), pixel))
    assert rgb.mode == "RGB"
    assert rgb.getpixel((1, 1)) == pytest.approx((expected,) * 3, abs=2)


def test_wide_grey_integers_are_not_white():
    rgb = open_image(Image.fromarray(np.array([[0, 1 << 20, 1 << 21]], dtype=np.int32)))
    assert [rgb.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_png_with_late_orientation_is_rotated(tmp_path: Path):
    stream = io.BytesIO()
    Image.effect_noise((9, 5), 60).convert("RGB").save(stream, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = stream.getvalue()
    late = plain[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + plain[-12:]
    (tmp_path / "late.png").write_bytes(late)
    for source in (late, tmp_path / "late.png"):
        assert image_size(source) == (5, 9)
        assert open_image(source).size == (5, 9)
    with Image.open(tmp_path / "late.png") as picture:
        assert image_size(picture) == open_image(picture).size == (5, 9)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read():
    stream = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(stream, "AVIF")
    assert open_image(stream.getvalue()).size == image_size(stream.getvalue()) == (16, 8)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (3, 7)])
def test_tiny_images_are_rgb(size: tuple[int, int]):
    assert open_image(Image.new("L", size)).mode == "RGB"


def test_file_swapped_after_the_check_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, secret = tmp_path / "root", tmp_path / "secret"
    for folder in (root / "a", secret):
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / "x.png")
    (root / "link.png").symlink_to(root / "a" / "x.png")
    assert open_image("link.png", root=root).size == (4, 4)  # a link inside the root is followed
    assert open_image("a/x.png", root=root).size == (4, 4)

    def swapped(path: Path, folder: Path | None):
        (root / "a").rename(root / "b")
        (root / "a").symlink_to(secret)
        return open_inside(path, folder)

    monkeypatch.setattr("gmner.data.images.opening.open_inside", swapped)
    with pytest.raises(ImageError, match="cannot be opened"):
        open_image("a/x.png", root=root)


def test_pipe_does_not_block(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError):
        open_image(tmp_path / "pipe.png")
    with pytest.raises(OSError, match="not a regular file"):
        opened_file.open_inside(tmp_path / "pipe.png", None)


def test_memory_budget_admits_a_large_image_alone():
    budget, most, held, lock = ByteBudget(100), [0], [0], threading.Lock()

    def work(pixels: int) -> None:
        with budget.holding(pixels):
            with lock:
                held[0] += pixels
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [40, 60, 30, 250, 90, 10] * 20))
    assert most[0] == 250
    assert held[0] == 0


def test_folder_swapped_for_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "a" / "b", outside / "b"):
        folder.mkdir(parents=True)
        (folder / "x.png").write_bytes(folder.parent.name.encode())
    path = root / "a" / "b" / "x.png"
    with opened_file.open_inside(path, root)[0] as file:
        assert file.read() == b"a"
    really = os.open

    def swapping(name: object, flags: int, **options: object) -> int:
        descriptor = really(name, flags, **options)
        if str(name) == str(root):  # the path is being opened
            (root / "a").rename(root / "old")
            (root / "a").symlink_to(outside)
        return descriptor

    monkeypatch.setattr(os, "open", swapping)
    monkeypatch.setattr(os, "supports_dir_fd", {swapping})
    with pytest.raises(OSError, match="Not a directory"):
        opened_file.open_inside(path, root)
    monkeypatch.undo()
    for name in (outside / "b" / "x.png", root, root / ".." / "outside" / "b" / "x.png"):
        with pytest.raises(OSError, match="outside"):
            opened_file.open_inside(name, root)
