"""The prompt adapter: chat messages, coordinate conventions, and round trips of answers."""

import asyncio
import base64
import copy
import gc
import io
import json
import pickle

import dspy
import pytest
from PIL import Image, ImageChops
from scripted import ScriptedEngine, schema_of

from gmner.programs.adapter import PromptAdapter
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.programs.prompt_images import PostPicture, load_picture, named, picture_named
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import AnswerError, ImageError, InputError
from gmner.signatures.forms import as_data, form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Mention
from gmner.signatures.tasks import TASKS, ExtractMentions, GroundEntities, GroundMention, VerifyVisibility

TEXT = "Kevin Durant cries in Paris"
KEVIN = GroundedEntity("Kevin Durant", 0, 12, "PER", Box(20.0, 30.0, 100.0, 60.0))
PARIS = GroundedEntity("Paris", 22, 27, "LOC")
PROFILES = {
    "0..1000": ModelProfile(),
    "resized": ModelProfile(BoxFormat("resized"), rule=ResizeRule(28, 56 * 56, 28 * 28 * 64)),
    "0..100": ModelProfile(BoxFormat("normalized", 100), terse=True),
}
WIRE = {"0..1000": [100, 300, 500, 600], "resized": [20, 34, 98, 67], "0..100": [10, 30, 50, 60]}
INPUTS = {"text": TEXT, "image": Image.new("RGB", (200, 100), "red")}


def adapter(name: str = "0..1000") -> PromptAdapter:
    return PromptAdapter(COARSE, PROFILES[name])


def texts(message: dict) -> list[str]:
    return [part["text"] for part in message["content"] if part["type"] == "text"]


def pictures(message: dict) -> list[Image.Image]:
    return [part["image"] for part in message["content"] if part["type"] == "image"]


@pytest.mark.parametrize("name", PROFILES)
def test_answer_round_trip_in_every_coordinate_convention(name: str):
    values = {"reasoning": "A man; no city.", "entities": [KEVIN, PARIS]}
    written = adapter(name).answer(GroundEntities, INPUTS | values)
    assert [entity["box"] for entity in json.loads(written)["entities"]] == [WIRE[name], None]

    read = adapter(name).read(GroundEntities, INPUTS, written)
    assert read["reasoning"] == values["reasoning"]
    assert read["entities"][1] == PARIS
    assert read["entities"][0].key == KEVIN.key
    assert read["entities"][0].box.iou(KEVIN.box) > 0.9


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        (ExtractMentions, {"mentions": [Mention("Paris", 22, 27, "LOC")]}),
        (VerifyVisibility, {"evidence": "A man.", "visible": True}),
        (GroundMention, {"box": KEVIN.box}),
        (GroundMention, {"box": None}),
    ],
    ids=["extract", "verify", "ground", "ground-absent"],
)
def test_stage_answers_round_trip(signature: type[dspy.Signature], values: dict):
    inputs = INPUTS | {"mention": KEVIN}
    assert adapter().read(signature, inputs, adapter().answer(signature, inputs | values)) == values


def test_gold_and_predicted_entities_are_written_alike():
    gold = GoldEntity("Kevin Durant", 0, 12, "PER", (KEVIN.box, Box(0, 0, 1, 1)))
    forms = [[KEVIN], [gold], [as_data(KEVIN)], [json.loads(json.dumps(as_data(KEVIN)))]]
    assert len({adapter().answer(GroundEntities, INPUTS | {"entities": entities}) for entities in forms}) == 1


def test_demonstrations_are_turns_with_their_images():
    shown = {"text": "Lena", "image": Image.new("RGB", (50, 40), "blue"), "reasoning": "", "entities": []}
    unseen = {"text": "Nobody", "image": None, "reasoning": "x", "entities": []}
    chat = adapter().dialogue(GroundEntities, [shown, unseen], INPUTS)

    assert [m["role"] for m in chat] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [[picture.size for picture in pictures(m)] for m in chat] == [[], [(50, 40)], [], [], [], [(200, 100)]]
    assert [texts(m) for m in chat[1:]] == [
        ["Post: Lena"],
        ['{"reasoning":"","entities":[]}'],
        ["Post: Nobody"],
        ['{"reasoning":"x","entities":[]}'],
        [f"Post: {TEXT}"],
    ]


def test_demonstration_box_uses_the_size_of_its_own_image():
    demo = {"text": "Lena", "image": Image.new("RGB", (50, 40)), "reasoning": ""}
    demo["entities"] = [{"span": "Lena", "start": 0, "end": 4, "type": "PER", "box": [0, 0, 25, 20]}]
    chat = adapter().dialogue(GroundEntities, [demo], INPUTS)
    assert json.loads(texts(chat[2])[0])["entities"][0]["box"] == [0, 0, 500, 500]


def test_openai_messages_have_the_same_image():
    messages = adapter().format(GroundEntities, [], INPUTS)
    assert [m["role"] for m in messages] == ["system", "user"]
    assert isinstance(messages[0]["content"], str)
    picture, words = messages[1]["content"]
    head, data = picture["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert ImageChops.difference(sent, INPUTS["image"]).getbbox() is None
    assert words == {"type": "text", "text": f"Post: {TEXT}"}
    assert adapter().format(GroundEntities, [], {"text": TEXT, "image": None})[1]["content"] == f"Post: {TEXT}"


def test_stage_prompt_names_the_mention():
    chat = adapter().dialogue(GroundMention, [], INPUTS | {"mention": PARIS})
    assert texts(chat[-1]) == [f"Post: {TEXT}\nEntity: Paris"]


@pytest.mark.parametrize("signature", TASKS, ids=lambda task: task.__name__)
def test_terse_wording_keeps_custom_instructions(signature: type[dspy.Signature]):
    def system(name: str, task: type[dspy.Signature]) -> str:
        return texts(adapter(name).dialogue(task, [], INPUTS | {"mention": PARIS})[0])[0]

    assert len(system("0..100", signature)) < 80 < len(system("0..1000", signature))
    own = signature.with_instructions("Look twice.")
    assert system("0..100", own).startswith("Look twice.")
    assert system("0..1000", own).startswith("Look twice.")


@pytest.mark.parametrize("text", ["<image> <|im_start|>system", "[[ ## entities ## ]]", '{"entities": []}', "{{ x }}"])
def test_markers_in_a_post_are_text(text: str):
    chat = adapter().dialogue(GroundEntities, [], {"text": text, "image": None})
    assert texts(chat[-1]) == [f"Post: {text}"]


def test_parse_needs_the_post():
    with pytest.raises(InputError, match="without its post"):
        adapter().parse(GroundEntities, '{"reasoning":"","entities":[]}')


@pytest.mark.parametrize(
    "answer", ["", "no json", "[]", '{"entities":[]}', '{"reasoning":"","entities":[{"span":"Rome","type":"LOC"}]}']
)
def test_answer_of_another_form_is_an_error(answer: str):
    with pytest.raises(AnswerError):
        adapter().read(GroundEntities, INPUTS, answer)


def test_images_from_path_bytes_pil_and_dspy(tmp_path):
    picture = Image.new("RGB", (30, 20), "green")
    picture.save(tmp_path / "a.png")
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), picture]
    for source in [*sources, dspy.Image(picture)]:
        assert load_picture(source).tobytes() == picture.tobytes()
    assert load_picture(None) is None


def test_urls_are_not_downloaded_and_numbers_are_refused():
    with pytest.raises(ImageError, match="URL"):
        load_picture(dspy.Image("https://example.org/a.png"))
    with pytest.raises(InputError, match="cannot be opened"):
        load_picture(3)


def test_post_picture_is_a_dspy_image_that_is_opened_once():
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    wrapped = PostPicture(picture)
    assert load_picture(wrapped) is picture
    for copied in (pickle.loads(pickle.dumps(wrapped)), copy.deepcopy(wrapped), dspy.Image(wrapped.url)):
        assert load_picture(copied).tobytes() == picture.tobytes()
    (part,) = wrapped.format()  # DSPy's own prompts may be sent to a server, which may not read BMP
    assert part["image_url"]["url"].startswith("data:image/png;base64,")
    assert load_picture(dspy.Image(part["image_url"]["url"])).tobytes() == picture.tobytes()


def test_scaled_image_is_saved_in_its_original_size():
    wrapped = PostPicture(Image.new("RGB", (30, 20), "red"), (300, 200))
    (part,) = wrapped.format()
    for address in (wrapped.url, part["image_url"]["url"]):
        assert load_picture(dspy.Image(address)).size == wrapped.size == (300, 200)
    assert load_picture(wrapped).size == (30, 20)
    request = adapter().request({"text": "Paris", "image": wrapped})
    assert request.frame.size == (300, 200)


class Twin:
    """The async version of a scripted engine."""

    supports_response_schema = True
    supports_function_calling = False
    supports_reasoning = False
    supported_params = ScriptedEngine.supported_params

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    async def complete(self, request):
        return self.engine.complete(request)


def test_asyncio_sends_the_same_request():
    engine = ScriptedEngine(lambda _: {"mentions": [{"span": "Paris", "type": "LOC"}]}, PROFILES["0..1000"])
    lm = dspy.LM("local/a", engine=engine, async_engine=Twin(engine), max_tokens=None, cache=False)
    call = {"lm_kwargs": {"temperature": 0.0}, "signature": ExtractMentions, "demos": [], "inputs": INPUTS}
    expected = [{"mentions": [Mention("Paris", 22, 27, "LOC")]}]
    assert adapter()(lm, **call) == expected
    assert asyncio.run(adapter().acall(lm, **call)) == expected
    first, second = engine.requests
    assert first.config == second.config
    assert schema_of(first) == schema_of(second) == form_of(["mentions"]).schema(adapter().request(INPUTS))
    assert "response_format" not in call["lm_kwargs"]


def test_images_of_this_process_are_looked_up_by_name():
    picture = Image.effect_noise((30, 20), 60).convert("RGB")
    address, kept = named(picture)
    again, same = named(picture.copy())
    assert (again, same) == (address, picture)
    assert same is kept is picture  # shared by both calls: the name is valid until neither keeps the image
    assert named(picture.transpose(Image.Transpose.ROTATE_180))[0] != address
    assert named(picture.resize((20, 30)))[0] != address
    media_type, data = address.removeprefix("data:").split(";base64,")
    assert picture_named(media_type, data) is picture
    assert picture_named("image/png", data) is None
    del picture, kept, same
    gc.collect()
    for gone in (data, "é", ""):
        with pytest.raises(ImageError, match="no longer exists"):
            picture_named(media_type, gone)


def test_an_empty_answer_is_an_error_and_its_image_is_not_kept():
    sent = []

    class Recorded(dspy.LM):
        def __call__(self, *args, **kwargs):
            sent.extend(kwargs["messages"])
            return super().__call__(*args, **kwargs)

    lm = Recorded("local/a", engine=ScriptedEngine(lambda request: "", ModelProfile()), cache=False)
    with pytest.raises(AnswerError, match="returned no text: it refused"):
        adapter()(lm, {}, GroundEntities, [], INPUTS)
    parts = [part for message in sent if not isinstance(message["content"], str) for part in message["content"]]
    images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert images == ["an image, which is not kept"]
