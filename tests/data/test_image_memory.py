"""Memory of images: the bytes decoded and held at once, and scaling."""

import asyncio
import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import dspy
import numpy as np
import pytest
from PIL import Image
from scripted import ScriptedEngine, entity, pictures_of, scripted_lm

from gmner.data.images import budget as budgets
from gmner.data.images import opening as images
from gmner.data.images.budget import ByteBudget
from gmner.data.images.decoding import FEWEST_PIXELS, MAX_DECODED, MOST_PIXELS, decoding_bytes, scaled_size
from gmner.data.images.opening import image_size, open_image, open_lazily, open_scaled
from gmner.data.images.pixels import to_rgb
from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile
from gmner.signatures.errors import ImageError


def file_of(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def test_callers_are_admitted_in_order():
    budget, order = ByteBudget(100), []
    with ThreadPoolExecutor(3) as pool, budget.holding(60):
        pool.submit(holding, budget, 90, order)
        until(lambda: len(budget._waiting) == 1)
        pool.submit(holding, budget, 30, order)  # it would fit next to 60, but then 90 would never be admitted
        until(lambda: len(budget._waiting) == 2)
        assert order == []
    assert order == [90, 30]


def holding(budget: ByteBudget, amount: int, order: list[int]) -> None:
    with budget.holding(amount):
        order.append(amount)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    assert condition()


def test_holder_of_bytes_does_not_wait_for_more():
    budget = ByteBudget(100)
    with budget.holding(80), budget.holding(80):
        assert budget._held == 160
    assert budget._held == 0


def test_asyncio_calls_wait_without_a_thread():
    budget, most, held = ByteBudget(100), [0], [0]

    async def work() -> None:
        async with budget.aholding(40):
            held[0] += 40
            most[0] = max(most[0], held[0])
            await asyncio.sleep(0.001)
            held[0] -= 40

    async def main() -> int:
        tasks = [asyncio.create_task(work()) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::5]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return threading.active_count()

    threads = threading.active_count()
    assert asyncio.run(main()) == threads
    assert most[0] == 80
    assert budget._held == 0
    assert not budget._waiting


def test_forked_process_holds_no_bytes():
    budget = ByteBudget(100)
    with budget.holding(90):
        budgets._start_over()  # the hook that runs in a forked child
        assert budget._held == 0
    assert budget._held == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_decoding_takes_at_most_twelve_bytes_per_pixel(mode: str):
    picture = SimpleNamespace(size=(1000, 1000), mode=mode, format="PNG", info={}, getbands=lambda: mode)
    assert decoding_bytes(picture) <= 8_000_000
    for kind, most in {"WEBP": 18, "AVIF": 13, "TIFF": 8}.items():
        assert decoding_bytes(SimpleNamespace(**{**vars(picture), "format": kind})) <= most * 1_000_000
    assert images.MAX_PIXELS * 8 <= MAX_DECODED  # formats that are decoded row by row are refused only by their pixels


def test_too_large_image_is_an_error_of_its_post(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gmner.data.images.decoding.MAX_DECODED", 8 * 40 * 30)
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    plain, progressive = file_of(picture, "JPEG"), file_of(picture, "JPEG", progressive=True)
    assert open_image(plain).size == (40, 30)
    for data in (progressive, file_of(picture, "WEBP"), file_of(picture.resize((40, 31)), "PNG")):
        for reader in (open_image, open_lazily, open_scaled, image_size):
            with pytest.raises(ImageError, match=r"40 x 3[01] pixels .* \(got '[\d,]+ bytes"):
                reader(data)
    program = GMNER(scripted_lm({"reasoning": "", "entities": [entity("Ana")]}))
    good = Post("a", "Ana", Image.new("RGB", (9, 9)))
    found = program.batch_posts([good, Post("b", "Ana", Image.new("RGB", (99, 99))), good], progress=False)
    assert [answer.error and answer.error["kind"] for answer in found] == [None, "bad_image", None]


def test_converting_in_strips_is_exact(monkeypatch: pytest.MonkeyPatch):
    noise = Image.effect_noise((31, 23), 90).convert("RGB")
    rgba = noise.convert("RGBA")
    rgba.putalpha(Image.effect_noise((31, 23), 90))
    floats = Image.fromarray(np.linspace(-3, 7, 31 * 23, dtype=np.float32).reshape(23, 31))
    indexed = noise.quantize(16)
    indexed.info["transparency"] = 3
    pictures = [rgba, floats, indexed, rgba.convert("LA"), rgba.convert("RGBa")]
    whole = [to_rgb(picture).tobytes() for picture in pictures]
    monkeypatch.setattr("gmner.data.images.pixels._STRIP", 100)
    assert [to_rgb(picture).tobytes() for picture in pictures] == whole


@pytest.mark.parametrize("size", [(1, 1), (1280, 1280), (4000, 3000), (9000, 7000), (3, 2_000_000), (60_000, 1_000)])
@pytest.mark.parametrize("used", [None, 128 * 128, 1456 * 1456, 4096 * 4096])
def test_image_is_scaled_to_twice_the_used_pixels(size: tuple[int, int], used: int | None):
    width, height = scaled_size(size, used)
    most = MOST_PIXELS if used is None else min(MOST_PIXELS, max(FEWEST_PIXELS, 4 * used))
    assert 1 <= width <= size[0]
    assert 1 <= height <= size[1]
    assert width * height <= most * (1.01 if min(width, height) > 9 else 2)
    assert (width, height) == size or width * height > 0.9 * most or min(size) < 9


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_decoded_at_reduced_size(orientation: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gmner.data.images.decoding.FEWEST_PIXELS", 60 * 40)
    small = Image.new("RGB", (6, 4), "white")
    small.putpixel((0, 0), (200, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(small.resize((600, 400), Image.Resampling.NEAREST), "JPEG", exif=exif, quality=95)
    drafts = []
    monkeypatch.setattr(images, "to_rgb", lambda picture: drafts.append(picture.size) or to_rgb(picture))
    scaled, whole = open_scaled(data, 10), open_image(data)
    assert drafts == [(75, 50), (600, 400)]
    assert scaled.size == whole.size == image_size(data)
    assert scaled.picture.size in ((60, 40), (40, 60))
    corner = np.argwhere(np.asarray(scaled.picture)[..., 1] < 90).mean(0) * 10
    assert corner == pytest.approx(np.argwhere(np.asarray(whole)[..., 1] < 90).mean(0), abs=12)


class LocalEngine(ScriptedEngine):
    """A scripted engine that looks up images by name and uses few of their pixels."""

    image_pixels = 10

    def complete(self, request: object) -> object:
        self.seen = [images_of(part) for part in request.messages[-1].parts if part.type == "image"]
        return super().complete(request)


def images_of(part: object) -> tuple[int, int]:
    from gmner.programs.prompt_images import picture_named

    return picture_named(part.media_type, part.data).size


@pytest.mark.parametrize("as_image", [Path, lambda path: dspy.Image(Image.open(path)), Image.open])
def test_boxes_are_in_pixels_of_the_original(as_image: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gmner.data.images.decoding.FEWEST_PIXELS", 60 * 40)
    Image.new("RGB", (600, 400)).save(tmp_path / "a.jpg")
    answer = {"reasoning": "", "entities": [entity("Ana", [100, 0, 500, 1000])]}
    engine = LocalEngine(lambda _: answer, ModelProfile())
    program = GMNER(dspy.LM("local/a", engine=engine, max_tokens=None, cache=False))
    found = program(text="Ana", image=as_image(tmp_path / "a.jpg"))
    assert engine.seen == [(60, 40)]
    assert found.entities[0].box.as_tuple() == (60, 0, 300, 400)
    for answered in (found, found.copy(), found.with_inputs("entities").inputs()):
        assert answered.as_pair()[0].image.size == (600, 400)
    assert found._image.size == (60, 40)


def test_served_model_gets_the_original_image():
    lm = scripted_lm({"reasoning": "", "entities": []})
    GMNER(lm)(text="Ana", image=Image.new("RGB", (2000, 1500)))
    assert pictures_of(lm.engine.requests[0])[0].size == (2000, 1500)


def test_calls_share_the_memory_budget(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gmner.programs.program.HELD", ByteBudget(20 * 30 * 20 * 2))  # two images for a server
    under_way, most, lock = [0], [0], threading.Lock()

    def answer(_: object) -> dict[str, object]:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.005)
        with lock:
            under_way[0] -= 1
        return {"reasoning": "", "entities": []}

    program = GMNER(scripted_lm(answer))
    posts = [Post(str(n), f"Ana {n}", Image.new("RGB", (30, 20))) for n in range(12)]

    async def together() -> None:
        await asyncio.gather(*(program.acall(text=post.text, image=post.image) for post in posts))

    assert all(answer.error is None for answer in program.batch_posts(posts, threads=8, progress=False))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda post: program(text=post.text, image=dspy.Image(post.image)), posts))
    asyncio.run(together())
    assert most[0] == 2


def test_images_of_tables_are_not_kept():
    picture = open_lazily(file_of(Image.effect_noise((40, 30), 60), "PNG"))
    assert open_image(picture).tobytes() == open_image(picture).tobytes()
    assert picture._im is None
    picture.thumbnail((20, 20))  # it now belongs to the caller
    assert open_image(picture).size == image_size(picture) == (20, 15)
