"""Demonstrations: the chosen posts, their images, and the checks before any call."""

import dataclasses
import logging
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pytest
from dspy import lm15
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from scripted import scripted_lm
from worlds import Lazy, drawn

from gmner.data.images.opening import open_image
from gmner.data.post import Post
from gmner.data.scoring.metric import to_example
from gmner.data.world.generate import World
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.demonstration_search import candidates
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.demonstrations import DemoWriter, check_demonstrations, covering_chains
from gmner.optimizers.chains.split import stratum
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.adapter import PromptAdapter
from gmner.programs.bundle import load
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.forms import as_data, as_entity
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import GroundEntities
from gmner.signatures.wire import Frame

NOTHING = {"reasoning": "", "entities": []}
PROFILES = {
    "normalized": ModelProfile(),
    "resized": ModelProfile(BoxFormat("resized"), rule=ResizeRule(28, 56 * 56, 28 * 28 * 16384)),
    "original": ModelProfile(BoxFormat("original")),
    "yxyx": ModelProfile(BoxFormat(order="yxyx")),
    "floats": ModelProfile(BoxFormat(form="floats")),
}
frames = pytest.mark.parametrize("frame", PROFILES)


def post_of(number: int, kind: str, *, pictured: bool = True, length: int = 0) -> Post:
    """A post of a stratum."""
    shown, absent = GoldEntity("Ana", 0, 3, "PER", (Box(1, 1, 5, 5),)), GoldEntity("Bo", 4, 6, "PER")
    gold = {"shown": (shown,), "absent": (absent,), "mixed": (shown, absent), "empty": ()}[kind]
    image = Image.new("RGB", (20, 10), (number % 256, 0, 0)) if pictured else None
    return Post(f"p{number}", "Ana Bo" + " x" * length, image, gold)


def chain_of(post: Post, style: str = "one") -> Chain:
    return Chain(post.id, style, "", tuple(as_data(as_entity(gold)) for gold in post.gold))


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def adapter_of(frame: str = "normalized") -> PromptAdapter:
    return PromptAdapter(COARSE, PROFILES[frame])


STRATA = Lazy(lambda: World(slices=dict.fromkeys(("shown", "absent", "mixed", "empty"), 1.0)).posts("train", 40))


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_chosen_posts_cover_strata_and_styles(seed: int | None):
    posts = {post.id: post for post in STRATA}
    chains = MRSI().chains(list(posts.values()), adapter_of(), random.Random(0))
    chosen = covering_chains(chains, posts, 4, None if seed is None else random.Random(seed))
    assert {stratum(posts[chain.post_id]) for chain in chosen} == {"empty", "shown", "absent", "mixed"}
    assert len({chain.style for chain in chosen}) == 4


@given(
    st.lists(st.tuples(st.sampled_from(["shown", "absent", "mixed", "empty"]), st.booleans()), max_size=12),
    st.integers(0, 14),
    st.none() | st.integers(0, 3),
)
def test_order_of_chosen_posts(kinds: list[tuple[str, bool]], count: int, seed: int | None):
    made = [post_of(number, kind, pictured=pictured) for number, (kind, pictured) in enumerate(kinds)]
    posts = {post.id: post for post in made}
    chains = [chain_of(post, style) for post in made for style in ("one", "two")]
    chosen = covering_chains(chains, posts, count, None if seed is None else random.Random(seed))
    ids = [chain.post_id for chain in chosen]
    assert len(ids) == len(set(ids)) == min(count, len(posts))
    taken, there = (Counter(stratum(posts[id_]) for id_ in which) for which in (ids, posts))
    for one in there:
        for other in there:
            assert taken[one] >= min(there[one], taken[other] - 1)
    for kind in there:
        order = [posts[id_].image is None for id_ in ids if stratum(posts[id_]) == kind]
        assert order == sorted(order)  # posts without an image come last
        if any(order):
            left = [post for post in made if stratum(post) == kind and post.id not in ids]
            assert all(post.image is None for post in left)


def test_shortest_posts_without_a_generator():
    made = [post_of(number, "shown", length=length) for number, length in enumerate((5, 0, 3))]
    chosen = covering_chains([chain_of(post) for post in made], {post.id: post for post in made}, 2)
    assert [chain.post_id for chain in chosen] == ["p1", "p2"]


def test_candidate_sets():
    posts = {post.id: post for post in STRATA}
    chains = MRSI(per_post=2).chains(list(posts.values()), adapter_of(), random.Random(0))
    tried = candidates(chains, posts, 4, 6, random.Random(1))
    assert [item.kind for item in tried] == ["none", "greedy", *["random"] * 6]
    assert [len(item.chains) for item in tried] == [0, *[4] * 7]
    assert tried == candidates(chains, posts, 4, 6, random.Random(1))
    assert tried[2:] != candidates(chains, posts, 4, 6, random.Random(2))[2:]
    assert [item.kind for item in candidates(chains, posts, 0, 6, random.Random(1))] == ["none"]
    few = candidates(chains[:2], posts, 4, 20, random.Random(1))  # one post, two styles
    assert [item.kind for item in few] == ["none", "greedy", "random"]


@frames
@given(data=st.data())
def test_boxes_of_a_reduced_image_stay_exact(frame: str, data: st.DataObject):
    size = data.draw(st.tuples(st.integers(8, 90), st.integers(8, 90)))
    corners = [sorted(data.draw(st.tuples(st.integers(0, side), st.integers(0, side)))) for side in size]
    box = Box(corners[0][0], corners[1][0], corners[0][1], corners[1][1])
    profile, side = PROFILES[frame], data.draw(st.integers(4, 100))
    old = Frame(profile.box_format, size, profile.resized(size))
    gold = GoldEntity("Ana", 0, 3, "PER", (box,))
    post = Post("p", "Ana is here", Image.new("RGB", size), (gold,))
    reasoning = f"Picture: Ana {str(old.encode(box)).replace(' ', '')}. Not a box: [1,2], [9999,0,0,0]."
    chain = dataclasses.replace(chain_of(post), reasoning=reasoning)
    demo = DemoWriter({"p": post}, adapter_of(frame), None, side)(chain)
    small = open_image(demo["image"].url)
    assert max(small.size) == min(side, max(size))
    (told,) = demo["entities"]
    for value, original, new, whole in zip(told["box"], box.as_tuple(), small.size * 2, size * 2, strict=True):
        assert value / new == pytest.approx(original / whole)
    answer = adapter_of(frame).answer(GroundEntities, demo)
    (written,) = re.findall(r'"box":(\[[^]]*\])', answer)
    assert demo["reasoning"] == f"Picture: Ana {written}. Not a box: [1,2], [9999,0,0,0]."
    assert check_demonstrations([demo], COARSE) == ()


@frames
def test_boxes_in_the_reasoning_are_scaled_too(frame: str):
    size, thing = (1000, 500), Box(200, 100, 600, 300)
    profile = PROFILES[frame]
    old = Frame(profile.box_format, size, profile.resized(size))
    post = Post("p", "Ana is here", Image.new("RGB", size), ())
    chain = dataclasses.replace(chain_of(post), reasoning=f"Picture: a cup {old.encode(thing)}.")
    demo = DemoWriter({"p": post}, adapter_of(frame), None, 250)(chain)
    new = Frame(profile.box_format, (250, 125), profile.resized((250, 125)))
    figures = [float(figure) for figure in re.findall(r"\d+(?:\.\d+)?", demo["reasoning"])]
    assert new.decode(figures).iou(Box(50, 25, 150, 75)) > 0.97


def test_small_images_are_unchanged_and_large_ones_keep_their_shape(tmp_path: Path):
    posts = {"small": Post("small", "A b", noise((300, 200)), ()), "large": Post("large", "A b", noise((900, 600)), ())}
    write = DemoWriter(posts, adapter_of(), tmp_path / "demos", 300)
    small, large = (write(chain_of(post)) for post in posts.values())
    assert np.array_equal(np.asarray(Image.open(small["image"])), np.asarray(posts["small"].image))
    assert Image.open(large["image"]).size == (300, 200)
    assert sorted(path.suffix for path in (tmp_path / "demos").iterdir()) == [".png", ".png"]
    assert write(chain_of(Post("small", "A b", None, ())))["image"] == small["image"]  # looked up by the post's id


def test_post_without_image(tmp_path: Path):
    post = post_of(1, "absent", pictured=False)
    demo = DemoWriter({post.id: post}, adapter_of(), tmp_path, 300)(chain_of(post))
    assert demo["image"] is None
    assert list(tmp_path.iterdir()) == []


def test_stored_image_is_upright_without_metadata(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise((60, 40)).save(tmp_path / "a.jpg", exif=exif, icc_profile=profile, comment=b"secret")
    post = Post("p", "A b", tmp_path / "a.jpg", ())
    demo = DemoWriter({"p": post}, adapter_of(), tmp_path / "demos", 300)(chain_of(post))
    kept = Image.open(demo["image"])
    kept.load()
    assert (kept.size, kept.info) == ((40, 60), {})
    assert np.array_equal(np.asarray(kept), np.asarray(open_image(tmp_path / "a.jpg")))


def test_image_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    post = post_of(1, "shown")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        DemoWriter({post.id: post}, adapter_of(), tmp_path, 300)(chain_of(post))
    assert list(tmp_path.iterdir()) == []


def messages_of(request: lm15.Request) -> list[tuple[Any, ...]]:
    """The messages of a request, with images as bytes."""
    return [(request.system,), *((m.role, *(str(part) for part in m.parts)) for m in request.messages)]


def sent(program: GMNER) -> list[tuple[Any, ...]]:
    """The messages that the program sends for a new post."""
    program.model.engine.requests.clear()
    program(text="Mira Voss is late", image=noise((30, 30)))
    (request,) = program.model.engine.requests
    return messages_of(request)


def test_saved_program_does_not_need_its_run_directory(tmp_path: Path):
    posts = [dataclasses.replace(p, image=p.image.resize((400, 400)), entities=(), scene=None) for p in WORLD[:6]]
    lm = scripted_lm(NOTHING, name="served")
    mrsi = MRSI(demonstrations=Demonstrations(count=3, side=100))
    better = GMNER(lm).compile(trainset=posts, optimizer=MCR(mrsi=mrsi, progress=False), run_dir=tmp_path / "run")
    pictures = [Path(demo["image"]) for demo in better.answer.demos]
    assert {path.parent for path in pictures} == {(tmp_path / "run" / "demos").resolve()}
    assert all(Image.open(path).size == (100, 100) for path in pictures)
    before = sent(better)
    better.save(tmp_path / "bundle")
    shutil.rmtree(tmp_path / "run")
    again = load(tmp_path / "bundle", lm=scripted_lm(NOTHING, name="other"))
    assert sent(again) == before
    assert sum("ImagePart" in part for message in before for part in message) == 4
    again.save(tmp_path / "second")
    assert sent(load(tmp_path / "second", lm=scripted_lm(NOTHING))) == before


WORLD = drawn("train", 12)


def good_demo() -> dict[str, Any]:
    ana = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "visible": True, "box": [1, 1, 5, 5]}
    bo = {"span": "Bo", "start": 4, "end": 6, "type": "PER", "visible": False, "box": None}
    return {"post_id": "p7", "text": "Ana Bo", "image": noise((20, 10)), "reasoning": "", "entities": [ana, bo]}


def broken(**change: Any) -> dict[str, Any]:
    demo = good_demo()
    demo["entities"][0] |= change
    return demo


FAULTS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "words": (lambda: broken(span="Anna"), r"the span 'Anna' does not occur at 0:3 of its text"),
    "case": (lambda: broken(span="ana"), r"the span 'ana' does not occur at 0:3"),
    "place": (lambda: broken(start=1, end=4), r"the span 'Ana' does not occur at 1:4"),
    "behind": (lambda: broken(start=-6, end=-3), r"the span 'Ana' does not occur at -6:-3"),
    "nothing": (lambda: broken(span="", start=2, end=2), r"the span '' does not occur at 2:2"),
    "type": (lambda: broken(type="CAT"), r"the type 'CAT' of 'Ana' is not one of PER, LOC, ORG"),
    "outside": (lambda: broken(box=[1, 1, 20.5, 5]), r"the box \(1, 1, 20\.5, 5\) of 'Ana' is outside .*20 x 10 pix"),
    "reversed": (lambda: broken(box=[5, 1, 1, 5]), r"an entity cannot be read: A box has reversed corners"),
    "three": (lambda: broken(box=[1, 1, 5]), r"an entity cannot be read: Not a box"),
    "hidden": (lambda: broken(visible=False), r"`visible` and `box` of 'Ana' contradict each other"),
    "boxless": (lambda: broken(box=None), r"`visible` and `box` of 'Ana' contradict each other"),
    "keys": (lambda: {**good_demo(), "entities": [{"span": "Ana"}]}, r"an entity cannot be read: Not an entity"),
    "no picture": (lambda: {**good_demo(), "image": None}, r"'Ana' has a box, but there is no image"),
    "gone": (lambda: {**good_demo(), "image": "/no/such.png"}, r"its image cannot be used: An image is missing"),
    "address": (lambda: {**good_demo(), "image": dspy.Image("https://a.example/b.png")}, r"its image cannot be used"),
    "not one": (lambda: {**good_demo(), "image": b"no picture"}, r"its image cannot be used: .*broken"),
    "no text": (lambda: {**good_demo(), "text": " "}, r"it has no text"),
    "no list": (lambda: {**good_demo(), "entities": None}, r"it has no list of entities"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_reported_with_number_and_post(name: str, caplog: pytest.LogCaptureFixture):
    make, said = FAULTS[name]
    demos = [good_demo(), make()]
    with pytest.raises(InputError, match=rf"Demonstration 2 \(post 'p7'\): {said}") as told:
        check_demonstrations(demos, COARSE)
    assert "Demonstration 1" not in str(told.value)
    with caplog.at_level(logging.WARNING, logger="gmner"):
        faults = check_demonstrations(demos, COARSE, "warn")
    assert [record.message for record in caplog.records] == list(faults)
    assert check_demonstrations(demos, COARSE, "off") == ()


def test_valid_demonstrations_of_every_kind_pass():
    post = post_of(3, "mixed")
    answered = dspy.Example(text=post.text, image=dspy.Image(post.image), entities=[as_entity(g) for g in post.gold])
    assert check_demonstrations([good_demo(), to_example(post), answered], COARSE) == ()


def test_many_faults_are_counted():
    demos = [{**broken(span="Anna"), "post_id": None}] * 7
    with pytest.raises(InputError, match=r"Demonstration 1 \(text 'Ana Bo'\).*Demonstration 5 .*; and 2 more\. "):
        check_demonstrations(demos, COARSE)
    with pytest.raises(InputError, match="Unknown value of check"):
        check_demonstrations([], COARSE, "loud")  # type: ignore[arg-type]


def test_mcr_checks_before_any_call(caplog: pytest.LogCaptureFixture):
    gold = dataclasses.replace(post_of(1, "shown").gold[0], boxes=(Box(1, 1, 30, 5),))
    wrong = dataclasses.replace(post_of(1, "shown"), entities=(gold,))
    lm = scripted_lm(NOTHING)
    with pytest.raises(InputError, match=r"'p1': the box \(1, 1, 30, 5\) of 'Ana' extends beyond the image"):
        GMNER(lm).compile(
            trainset=[wrong, *WORLD], optimizer=MCR(mrsi=MRSI(demonstrations=Demonstrations(count=2)), progress=False)
        )

    def compile(check: str) -> None:
        program = GMNER(lm)
        program.answer.demos = [broken(span="Anna")]
        optimizer = MCR(mrsi=MRSI(demonstrations=Demonstrations(count=2, check=check)), progress=False)
        program.compile(trainset=WORLD, valset=WORLD[:2], optimizer=optimizer)

    with pytest.raises(InputError, match="Demonstration 1 "):
        compile("error")
    assert lm.engine.requests == []
    with caplog.at_level(logging.WARNING, logger="gmner"):
        compile("warn")
    assert "Demonstration 1 " in caplog.text
    assert lm.engine.requests
    caplog.clear()
    compile("off")
    assert "Demonstration 1 " not in caplog.text


def test_mcr_checks_the_demonstrations_of_the_student():
    lm = scripted_lm(NOTHING)
    student = GMNER(lm)
    student.answer.demos = [broken(type="CAT")]
    with pytest.raises(InputError, match="the type 'CAT' of 'Ana'"):
        student.compile(trainset=WORLD, valset=WORLD[:2], optimizer=MCR(progress=False))
    assert lm.engine.requests == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"count": -1}, "count must not be negative.*got -1"),
        ({"count": 2.0}, "count must be an integer.*0 or more, or None"),
        ({"count": True}, "count must be an integer"),
        ({"served_count": None}, "served_count must be an integer.*0 or more"),
        ({"max_metric_calls": -1}, "max_metric_calls must not be negative"),
        ({"sets": -1}, "sets must not be negative"),
        ({"side": 0}, "side must be at least 1"),
        ({"check": "loud"}, "Unknown value of check.*off, warn, error"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        Demonstrations(**settings)


@pytest.mark.parametrize(("given", "call"), [(3, "count=3"), (None, "count=..."), ({"count": 3}, "count=...")])
def test_other_values_than_demonstrations_are_refused_with_the_right_call(given: Any, call: str):
    with pytest.raises(InputError, match=re.escape(f"Write MRSI(demonstrations=gmner.Demonstrations({call}))")):
        MRSI(demonstrations=given)


@pytest.mark.parametrize(
    ("settings", "trained", "served"), [({}, None, 4), ({"count": 0}, 0, 0), ({"count": 2, "served_count": 3}, 2, 2)]
)
def test_the_number_depends_on_whether_weights_are_trained(settings: dict[str, int], trained: int | None, served: int):
    assert Demonstrations(**settings).wanted(trained=True) == trained
    assert Demonstrations(**settings).wanted(trained=False) == served
