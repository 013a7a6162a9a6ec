"""One answer of one program, its cost, and failures in the words of the library."""

from pathlib import Path

import dspy
import pytest
from PIL import Image
from scripted import entity, scripted_lm

from gmner.app import timed_answer as module
from gmner.app.timed_answer import MOST_IMAGES, TimedAnswer, timed_answer, uploaded_post
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.choice import LoadedModels, ProgramChoice
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import ImageError, InputError


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> GMNER:
    made = GMNER(scripted_lm({"reasoning": "So.", "entities": [entity("Ada", [0, 0, 500, 500])]}))
    monkeypatch.setattr(module, "choose", lambda choice, **_: made)
    return made


def test_an_answer_with_its_cost(program: GMNER):
    answer = timed_answer(ProgramChoice(), Post("p", "Ada sings", Image.new("RGB", (20, 10))), LoadedModels())
    assert [found.span for found in answer.prediction.entities] == ["Ada"]
    assert answer.prediction.id == "p"
    assert (answer.prompt_tokens, answer.answer_tokens) == (1, 1)
    assert answer.cost() == f"{answer.seconds:.1f} seconds, 1 token in the prompt, 1 token in the answer"


def test_unknown_tokens_are_said_to_be_unknown():
    assert "tokens unknown" in TimedAnswer(Prediction("p", "Ada"), 1.0).cost()


def test_an_error_of_the_post(program: GMNER, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    answer = timed_answer(ProgramChoice(), Post("p", "Ada", tmp_path / "broken.png"), LoadedModels())
    assert answer.prediction.error is not None
    assert answer.prediction.error["kind"] == "bad_image"


def test_a_program_that_cannot_be_built():
    answer = timed_answer(ProgramChoice("no/such-model-folder"), Post("p", "Ada"), LoadedModels())
    assert answer.prediction.error is not None
    assert "no/such-model-folder" in answer.prediction.error["message"]


def test_errors_name_the_fields_of_the_page():
    answer = timed_answer(ProgramChoice(served="qwen"), Post("p", "Ada"), LoadedModels())
    assert answer.prediction.error is not None
    expected = "Name of the model on its server requires Server (got 'qwen'). Add Server."
    assert answer.prediction.error["message"] == expected


def test_a_model_that_fails_is_no_bare_error(monkeypatch: pytest.MonkeyPatch):
    def fail(_: object) -> str:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, "choose", lambda choice, **_: GMNER(scripted_lm(fail)))
    with dspy.context(disable_history=True):
        answer = timed_answer(ProgramChoice(), Post("p", "Ada"), LoadedModels())
    assert answer.prediction.error is not None
    assert answer.prediction.error["kind"] == "server_error"
    assert "out of memory" in answer.prediction.error["message"]
    assert "try again" in answer.prediction.error["message"]


def test_uploaded_posts(tmp_path: Path):
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (5, 5), colour).save(tmp_path / f"{name}.png")
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    post = uploaded_post("Ada", [str(a), b])
    assert (post.text, post.images, post.entities) == ("Ada", (a, b), None)
    assert post.id == uploaded_post("Ada", [a, b]).id
    others = [("Bo", [a, b]), ("Ada", [b, a]), ("Ada", []), ("Ada", [a])]
    assert len({post.id, *(uploaded_post(*other).id for other in others)}) == 5
    assert uploaded_post("half \ud83d").id != uploaded_post("half \ud83e").id


def test_refusals(tmp_path: Path):
    with pytest.raises(InputError, match="The text of the post is empty"):
        uploaded_post(" \n")
    with pytest.raises(ImageError, match="does not exist"):
        uploaded_post("Ada", [tmp_path / "gone.png"])
    with pytest.raises(InputError, match="too many images"):
        uploaded_post("Ada", ["x.png"] * (MOST_IMAGES + 1))
