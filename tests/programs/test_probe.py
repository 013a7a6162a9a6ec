"""`probe`: scripted models in every convention, a model on a server, and the embedded model."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from openai_server import serving
from PIL import Image
from probed import CONVENTIONS, QWEN, SMALL, TITLES, ShapeModel, replying, speaking, use_small_images
from scripted import pictures_of, scripted_lm, words_of

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.models import loading
from gmner.programs.models.families import ModelProfile
from gmner.programs.models.loading import load_for_probe, load_vlm
from gmner.programs.models.probe import probing
from gmner.programs.models.probe.conventions import Convention
from gmner.programs.models.probe.probing import probe
from gmner.programs.models.probe.report import ProbeReport
from gmner.programs.served import served_lm
from gmner.signatures.boxes import Box, BoxFormat, Size
from gmner.signatures.errors import InputError, ServerError
from gmner.signatures.mentions import GoldEntity


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch):
    """Images that are encoded quickly."""
    use_small_images(monkeypatch)


PLAIN = ModelProfile()
BOXED = (GoldEntity("Ana", 0, 3, "PER", (Box(1, 2, 30, 20),)),)
FEW = [Post(str(number), "Ana", Image.new("RGB", (60, 40)), BOXED) for number in range(5)]
PIXELS = ModelProfile(BoxFormat("resized"), rule=QWEN)


def probed(model: Any, profile: ModelProfile, **options: Any) -> ProbeReport:
    return probe(scripted_lm(model, profile), progress=False, **options)


@pytest.mark.parametrize("convention", CONVENTIONS[3:6], ids=TITLES[3:6])
def test_each_convention_is_called_and_agrees_with_its_profile(convention: Convention):
    profile = ModelProfile(convention.box_format, rule=QWEN)
    report = probed(ShapeModel(speaking(convention), noise=0.01), profile)
    assert report.state == "agrees"
    assert report.called == convention
    assert report.found_profile() == profile
    assert report.fit is not None
    assert report.fit.mean > 0.8
    assert report.asked.fits[0].convention == convention
    assert report.enforced is True


@pytest.mark.parametrize("convention", CONVENTIONS[1:], ids=TITLES[1:])
def test_a_profile_of_another_convention_is_contradicted(convention: Convention):
    report = probed(ShapeModel(speaking(convention), noise=0.01), ModelProfile(rule=QWEN))
    assert report.state == "contradicted"
    assert report.called == convention
    assert report.found_profile() == ModelProfile(convention.box_format, rule=QWEN)
    assert "profile: 0..1000 xyxy, CONTRADICTED" in report.summary()
    assert f"boxes: {convention.title} (mean IoU 0.8" in report.summary()


def test_original_pixels_contradict_pixels_after_the_resize():
    report = probed(ShapeModel(speaking(Convention(BoxFormat("original"))), noise=0.01), PIXELS)
    assert (report.state, report.called) == ("contradicted", Convention(BoxFormat("original")))
    assert report.found_profile().box_format == BoxFormat("original")


def test_a_profile_agrees_only_if_its_convention_fits_and_no_other_one():
    writes = Convention(BoxFormat("original", order="yxyx"))
    report = probed(
        ShapeModel(speaking(writes), noise=0.01), ModelProfile(BoxFormat("resized", order="yxyx"), rule=QWEN)
    )
    assert report.state != "agrees"


def test_a_limit_of_images_is_kept_in_the_profile_that_is_found():
    own = Convention(BoxFormat("normalized", 100))
    report = probed(ShapeModel(speaking(own), noise=0.01), ModelProfile(max_pictures=2))
    assert report.found_profile() == ModelProfile(own.box_format, max_pictures=2)


@pytest.mark.slow
def test_pixels_of_a_resize_with_a_low_limit():
    own = Convention(BoxFormat("resized"), SMALL)
    report = probed(ShapeModel(speaking(own), SMALL, noise=0.01), ModelProfile(BoxFormat("resized"), rule=SMALL))
    assert (report.state, report.called) == ("agrees", own)


def test_nothing_boxed_is_not_called():
    report = probed(ShapeModel(lambda size, box: None), PLAIN)
    assert report.state == "unknown"
    assert report.called is None
    assert report.reason.startswith("it does not ground; in free text, it boxed only 0 of 36")
    assert "boxes: cannot be told: it does not ground" in report.summary()
    assert "profile: 0..1000 xyxy, cannot be told" in report.summary()
    assert (report.not_shown.said, report.not_shown.absent, report.not_shown.denied) == (12, 12, 12)
    with pytest.raises(InputError, match="The probe cannot tell the coordinate convention of the model"):
        report.found_profile()


def test_random_boxes_are_not_called():
    rng = random.Random(0)

    def anywhere(size: Size, box: Box) -> list[float]:
        left, top = rng.randint(0, 700), rng.randint(0, 700)
        return [left, top, left + rng.randint(100, 300), top + rng.randint(100, 300)]

    report = probed(ShapeModel(anywhere), PLAIN)
    assert (report.state, report.called) == ("unknown", None)


@pytest.mark.parametrize("order", ["xyxy", "yxyx"])
def test_location_tokens_are_named_and_not_taken_for_no_grounding(order: Any):
    write = speaking(Convention(BoxFormat("normalized", 1023, order)))

    def answer(request: Any) -> str:
        box = re.findall(r"\d+", str(model(request)).partition("bbox_2d")[2])[:4]
        return "".join(f"<loc{int(value):04}>" for value in box) + " shape"

    model = ShapeModel(write, noise=0.01)
    report = probed(answer, PLAIN)
    assert (report.state, report.called) == ("unknown", None)
    assert report.reason.startswith(f"it wrote location tokens in 36 of 36 answers in the order {order} (mean IoU 0.8")
    assert report.reason.endswith("which are not supported")


def test_prose_is_not_called():
    report = probed(lambda request: "A lovely picture with 3 shapes.", PLAIN)
    assert report.state == "unknown"
    assert report.enforced is False
    assert report.costs.malformed > 0
    assert "did not have the form that the schema requires" in report.summary()
    assert report.not_shown.said == 0  # no answer is not "not shown"


class Follower(ShapeModel):
    """Writes decimals in free text, and the convention that the prompt requires otherwise."""

    def __call__(self, request: Any) -> str | dict[str, Any]:
        required = str(request.system)
        form = BoxFormat("normalized", 1000, form="floats")
        for other in (BoxFormat("normalized", 1000), BoxFormat("normalized", 100), BoxFormat("original")):
            form = other if other.describe() in required else form
        self.write = speaking(Convention(form))
        return super().__call__(request)


def test_a_model_that_follows_the_required_convention_agrees():
    report = probed(Follower(lambda size, box: None), PLAIN)
    assert report.state == "agrees"
    assert report.called == Convention(BoxFormat("normalized", 1000, form="floats"))
    assert report.found_profile() == PLAIN


def test_the_required_convention_decides_where_free_text_has_no_boxes():
    class OnlyJson(ShapeModel):
        def __call__(self, request: Any) -> str | dict[str, Any]:
            answer = super().__call__(request)
            return answer if isinstance(answer, dict) else "I only write JSON."

    own = Convention(BoxFormat("normalized", 100))
    report = probed(OnlyJson(speaking(own), noise=0.01), PLAIN)
    assert (report.state, report.called) == ("contradicted", own)
    assert report.fit in report.asked.fits


def test_the_report_as_json_data():
    model = ShapeModel(speaking(Convention(BoxFormat("normalized", 100))), noise=0.01)
    data = json.loads(json.dumps(probed(model, PLAIN).to_dict()))
    assert data["state"] == "contradicted"
    assert data["called"] == {"title": "0..100 xyxy", "frame": "normalized", "scale": 100, "resize": None}
    assert data["profile"] == {"frame": "normalized", "scale": 1000}
    assert data["mean_iou"] > 0.7
    assert data["free"][0]["convention"] == "0..100 xyxy"
    assert (data["not_shown"]["said"], data["not_shown"]["absent"]) == (12, 12)
    assert data["schema_enforced"] is True
    assert data["tokens"] == data["calls"] > 100  # the scripted engine reports one token for each answer
    assert data["memory"] is None
    assert data["errors"] == 0


def test_failing_model():
    def fail(request: Any) -> str:
        raise RuntimeError("out of order")

    with pytest.raises(ServerError, match=r"The model failed on every question.*out of order"):
        probed(fail, PLAIN)


def test_a_failed_call_is_reported():
    model = ShapeModel(speaking(CONVENTIONS[0]), noise=0.01)
    left = [3]

    def sometimes(request: Any) -> str | dict[str, Any]:
        if left[0] and "bounding box" in str(request.messages[-1].parts):
            left[0] -= 1
            raise RuntimeError("busy")
        return model(request)

    report = probed(sometimes, PLAIN, threads=1)
    assert report.state == "agrees"
    assert report.costs.errors == 3
    assert "3 of 121 calls failed; the first:" in report.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"profile": "normalized"}, "profile must be a ModelProfile"),
        ({"profile": "none"}, "profile must be a ModelProfile"),
        ({"posts": []}, "No entity of the posts has a box"),
        ({"posts": FEW}, r"Too few entities of the posts have a box.*got 5.*at least 8"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        probe(scripted_lm(lambda request: pytest.fail("asked"), PLAIN), progress=False, **options)
    with pytest.raises(InputError, match="lm must be a model"):
        probe("model")  # type: ignore[arg-type]


def test_posts_of_the_user():
    posts = World().posts("dev", 24)
    places = {(post.text, entity.span): entity.boxes for post in posts for entity in post.gold}
    own = Convention(BoxFormat("normalized", 1000, "yxyx"))

    def answer(request: Any) -> str | dict[str, Any]:
        words = words_of(request)
        if request.config.response_format is None or "Entity: " not in words:
            return "unmistakable-7319" if request.config.response_format else "A picture."
        text, _, span = words.removeprefix("Post: ").partition("\nEntity: ")
        boxes = places[text, span]
        size = pictures_of(request)[0].size
        return {"box": list(own.box_format.encode(boxes[0], size)) if boxes else None}

    report = probed(answer, PLAIN, posts=posts)
    assert (report.state, report.called) == ("contradicted", own)
    assert report.not_shown.said == report.not_shown.absent > 0


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    ("name", "state"),
    [
        pytest.param("Qwen/Qwen3-VL-8B-Instruct", "contradicted", marks=pytest.mark.slow),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "agrees"),
        ("house-model", "called"),
    ],
)
def test_model_on_a_server(name: str, state: str):
    own = Convention(BoxFormat("resized"), QWEN)
    rule = None
    if "Qwen3" in name:  # its family has another resize
        own = Convention(BoxFormat("normalized", 100))
    model = ShapeModel(speaking(own), rule, noise=0.01, obeys=False)
    with serving(replying(model, name), free_text=True) as (base, bodies):
        lm = dspy.LM(f"openai/{name}", api_base=base, api_key="key", cache=False, num_retries=0, max_tokens=None)
        report = probe(lm, progress=False)
    assert (report.state, report.called) == (state, own)
    assert report.profile is None or name != "house-model"
    assert report.enforced is False
    assert report.costs.memory is None
    assert report.costs.tokens == len(bodies) == report.costs.calls
    assert {body["temperature"] for body in bodies} == {0.0}
    assert "memory: on the server" in report.summary()
    assert lm.history == []


def test_a_model_is_loaded_with_the_probed_profile(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    asked = []

    def probed_as(lm: dspy.LM, *, profile: Any) -> ProbeReport:
        asked.append(profile)
        known = PLAIN if profile is probing.NO_PROFILE else profile
        return probed(ShapeModel(speaking(Convention(BoxFormat("normalized", 100)))), known)

    monkeypatch.setattr(probing, "probe", probed_as)
    engine = load_vlm(tiny("qwen3_vl"), profile="probe").engine
    (family,) = asked
    assert (family.box_format, family.rule is None) == (BoxFormat(), False)
    assert engine.profile == ModelProfile(BoxFormat("normalized", 100), rule=family.rule)
    assert "The probe contradicts the profile of the model" in caplog.text
    assert VLMEngine.load_state(json.loads(json.dumps(engine.dump_state()))).profile == engine.profile

    monkeypatch.setattr(loading, "known_family", lambda name: None)
    assert load_vlm(tiny("qwen3_vl"), profile="probe").engine.profile.box_format == BoxFormat("normalized", 100)
    assert asked[1] is probing.NO_PROFILE
    lm, profile = load_for_probe(tiny("qwen3_vl"))
    assert (lm.engine.profile.box_format, profile) == (BoxFormat(), None)


def test_a_model_that_cannot_be_told_is_not_loaded(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    nothing = ShapeModel(lambda size, box: None)
    monkeypatch.setattr(probing, "probe", lambda lm, **_: probed(nothing, PLAIN))
    with pytest.raises(InputError, match="The probe cannot tell the coordinate convention"):
        load_vlm(tiny("qwen3_vl"), profile="probe")


@pytest.mark.usefixtures("socket_enabled")
def test_a_served_model_gets_the_probed_profile(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """By the name on the server, nothing is known of the first, and something wrong of the second."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    hundred, asked = BoxFormat("normalized", 100), []

    def probed_as(lm: dspy.LM, *, profile: Any) -> ProbeReport:
        asked.append((lm.model, profile))
        model = ShapeModel(speaking(Convention(hundred)))
        return probe(scripted_lm(model), profile=profile, progress=False)

    monkeypatch.setattr(probing, "probe", probed_as)
    for name in ("house", "Qwen3-VL-8B"):
        with serving(lambda _: pytest.fail("asked"), {name: name}) as (base, _):
            lm, profile = served_lm(base, profile="probe", num_retries=0)
        assert (lm.model, profile.box_format) == (f"openai/{name}", hundred)
        assert ("The probe contradicts the profile" in caplog.text) == (name != "house")
    assert asked[0] == ("openai/house", probing.NO_PROFILE)
    assert asked[1][1].box_format == BoxFormat()


@pytest.mark.slow
def test_embedded_model_on_shapes_and_on_its_world():
    lm = load_vlm()
    report = probe(lm, progress=False)
    assert (report.state, report.called, report.enforced) == ("unknown", None, True)
    assert report.costs.memory is not None
    assert report.costs.device in ("GPU", "process")
    assert report.costs.tokens_per_second is not None
    report = probe(lm, posts=World().posts("dev", 30), progress=False)
    assert (report.state, report.called) == ("agrees", Convention(BoxFormat("normalized", 100)))
    assert report.fit is not None
    assert report.fit.mean > 0.6
