"""Gold annotations that no answer can express: every kind of fault, and valid posts."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripts import SAMPLES

from gmner.cli.main import main
from gmner.data.jsonl import write_posts
from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.programs.gold_check import check_posts, refusal
from gmner.programs.models.families import ModelProfile
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import Limits

TEXT = "Mira Voss waves at " + " ".join(f"w{number}" for number in range(20))
PICTURE = Image.new("RGB", (2000, 1000))


def named(span: str = "Mira Voss", start: int = 0, type_: str = "PER", boxes: Any = ()) -> GoldEntity:
    return GoldEntity(span, start, start + len(span), type_, tuple(Box(*box) for box in boxes))


def post(*entities: GoldEntity, **fields: Any) -> Post:
    return Post(**{"id": "p", "text": TEXT, "image": PICTURE, "entities": entities, **fields})


FAULTY = {
    "span_too_long": post(named(TEXT)),
    "unknown_type": post(named(type_="XYZ")),
    "blank_at_edge": post(named("Mira ")),
    "cuts_a_word": post(named("Mir")),
    "offsets": post(named("Voss")),
    "same_place": post(named(), named(type_="LOC")),
    "too_many_entities": post(named("Mira"), named("Voss", 5), named("waves", 10)),
    "box_outside": post(named(boxes=[(0, 0, 10, 10), (0, 0, 2001, 10)])),
    "box_without_area": post(named(boxes=[(5, 5, 5, 5)])),
    "no_picture": post(named(boxes=[(0, 0, 10, 10)]), image=None),
    "bad_picture": post(named(), image=Path("missing.png")),
    "empty_text": post(text=" "),
    "not_unicode": post(text="Mira \ud83d"),
    "not_annotated": post(entities=None),
    "no_regions": post(named(), grounded=False),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_each_kind_of_fault_is_reported(kind: str):
    report = check_posts([post(id="fine"), FAULTY[kind]], limits=Limits(entities=2))
    assert [(fault.post_id, fault.kind) for fault in report.faults] == [("p", kind)]
    assert (report.ids, report.refused) == (("p",), 1)
    assert [kept.id for kept in report.kept([post(id="fine"), FAULTY[kind]])] == ["fine"]
    assert kind in report.summary()


def test_counts_are_singular_where_they_are_one():
    report = check_posts([post(named(type_="XYZ"), id=str(number)) for number in range(6)])
    assert report.summary(5).endswith("... and 1 more fault")
    assert report.summary(4).endswith("... and 2 more faults")
    assert "; and 1 more fault." in str(refusal("training set", report, ""))
    one = check_posts([FAULTY["unknown_type"]])
    assert "of 1 of 1 post of the training set" in str(refusal("training set", one, ""))


@pytest.mark.parametrize(
    ("text", "span", "kind"),
    [
        ("Zoe\u0301 waves", "Zoe", "cuts_a_character"),
        ("क्षत्रिय", "क्", "cuts_a_character"),
        ("👩‍👧 waves", "👩", "cuts_a_character"),
        ("Ankarada", "Ankara", "cuts_a_word"),
        ("Ada\u200bBo", "Ada\u200b", "blank_at_edge"),
        ("東" * 29, "東" * 29, "span_too_long"),
        ("aB" * 120, "aB" * 120, "span_too_long"),
    ],
)
def test_names_that_cannot_be_cut_out_are_reported(text: str, span: str, kind: str):
    gold = post(named(span, text.index(span)), text=text)
    assert [fault.kind for fault in check_posts([gold]).faults] == [kind]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_names_in_every_script_can_be_learned(sample):
    assert check_posts([sample.post(PICTURE)]).faults == ()


def test_box_too_small_for_the_model_coordinates():
    (fault,) = check_posts([post(named(boxes=[(100, 100, 100.4, 200)]))]).faults
    assert fault.kind == "box_too_small"
    assert "too small" in fault.message


def test_duplicate_ids():
    assert [fault.kind for fault in check_posts([post(), post()]).faults] == ["duplicate_id"]


def test_posts_of_the_world_have_no_faults():
    posts = World().posts("train", 40)
    assert check_posts(posts).faults == ()
    adjacent = post(named("Mira", boxes=[(0, 0, 9, 9), (9, 9, 2000, 1000)]), named("Voss", 5))
    assert check_posts([adjacent]).faults == ()


@pytest.mark.slow
def test_check_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good = World().posts("train", 2)
    bad = dataclasses.replace(post(named("Mira ")), image=None)
    assert main(["check", str(write_posts(good, tmp_path / "good"))]) == 0
    assert "every gold answer can be learned" in capsys.readouterr().out
    file = str(write_posts([*good, bad], tmp_path / "bad"))
    assert main(["check", file, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["posts"], found["refused"], found["faults"][0]["kind"]) == (3, 1, "blank_at_edge")
    assert main(["check", file, "--labels", "CAT"]) == 1
    code = "import sys; from gmner.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, "check", file], capture_output=True).returncode == 0


def test_decimals_are_multiples_of_their_step():
    profile = ModelProfile(BoxFormat(form="floats"))
    wide = Image.new("RGB", (1000, 10))
    posts = [Post(f"{x}", TEXT, wide, (named(boxes=[(0, 0, x, 10)]),)) for x in range(1, 1000)]
    assert check_posts(posts, profile=profile).faults == ()
