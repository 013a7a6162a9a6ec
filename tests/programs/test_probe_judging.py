"""The rule by which a probe calls a convention, and the notations in which it reads boxes; no model."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from probed import CONVENTIONS, QWEN, SMALL, TITLES

from gmner.data.post import Post
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.programs.models.probe.conventions import Convention, candidates, in_force, ious, relative_boxes
from gmner.programs.models.probe.drawing import COLOURS, FIGURES, draw, sizes_for
from gmner.programs.models.probe.judging import Answered, different, judge
from gmner.programs.models.probe.questions import Question, questions_of
from gmner.programs.models.probe.reading import read_free, read_location_tokens
from gmner.signatures.boxes import Box, BoxFormat, iou
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity

SHOWN = tuple(question for drawing in draw(sizes_for(None)) for question in drawing.shown)
UNKNOWN = candidates(None)


def answers(convention: Convention, shares: np.ndarray, questions: tuple[Question, ...] = SHOWN) -> Answered:
    """Answers that write boxes, given as shares of width and height, in a convention."""
    order = [1, 0, 3, 2] if convention.box_format.order == "yxyx" else [0, 1, 2, 3]
    limits = [convention.box_format.limits(q.size, convention.resized(q.size)) for q in questions]
    rows = np.round(shares[:, order] * np.array(limits), 3).tolist()
    return Answered(questions, tuple((a, b, c, d) for a, b, c, d in rows))


def gold(questions: tuple[Question, ...] = SHOWN) -> np.ndarray:
    return relative_boxes([q.boxes[0] for q in questions], [q.size for q in questions])


@pytest.mark.parametrize("convention", CONVENTIONS, ids=TITLES)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_each_convention_with_noise_is_called(convention: Convention, noise: float):
    rng = np.random.default_rng(3)
    judgement = judge(answers(convention, np.clip(gold() + rng.normal(0, noise, (len(SHOWN), 4)), 0, 1)), UNKNOWN)
    assert judgement.called == convention
    assert judgement.fits[0].convention == convention
    assert judgement.reason == ""


@pytest.mark.parametrize("convention", CONVENTIONS, ids=TITLES)
def test_noise_makes_no_wrong_call(convention: Convention):
    for seed, noise in enumerate((0.04, 0.07, 0.12)):
        rng = np.random.default_rng(seed)
        judgement = judge(answers(convention, gold() + rng.normal(0, noise, (len(SHOWN), 4))), UNKNOWN)
        assert judgement.called in (convention, None)


def test_two_hundred_random_boxers_are_never_called():
    rng = np.random.default_rng(0)
    for number in range(200):
        first = rng.uniform(0, 0.7, (len(SHOWN), 2))
        small = np.hstack([first, first + rng.uniform(0.1, 0.3, first.shape)])
        shares = small if number % 2 else np.sort(rng.uniform(0, 1, (len(SHOWN), 2, 2)), 1).reshape(-1, 4)
        judgement = judge(answers(UNKNOWN[number % len(UNKNOWN)], shares), UNKNOWN)
        assert judgement.called is None
        assert judgement.reason == "its boxes fit no convention"


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.25, 0.25, 0.75, 0.75), (0.5, 0.5, 0.8, 0.8), (0.6, 0.4, 0.95, 0.9)])
def test_the_same_box_for_everything_is_never_called(box: tuple[float, ...]):
    for convention in UNKNOWN:
        assert judge(answers(convention, np.tile(box, (len(SHOWN), 1))), UNKNOWN).called is None


def test_no_boxes_and_few_boxes_are_not_called():
    full = answers(UNKNOWN[0], gold())
    for kept in (0, 7, len(SHOWN) // 2 - 1):
        judgement = judge(Answered(SHOWN, (*full.numbers[:kept], *[None] * (len(SHOWN) - kept))), UNKNOWN)
        assert judgement.called is None
        assert judgement.reason == f"it boxed only {kept} of {len(SHOWN)}"
    kept = len(SHOWN) // 2
    half = Answered(SHOWN, (*[None] * (len(SHOWN) - kept), *full.numbers[len(SHOWN) - kept :]))
    assert judge(half, UNKNOWN).called == UNKNOWN[0]
    assert judge(half, UNKNOWN).fits[0].boxed == kept


def test_sizes_separate_all_conventions():
    for first in CONVENTIONS:
        for second in CONVENTIONS:
            assert (len(different(first, second, SHOWN)) >= 8) == (first != second)
    assert len(different(Convention(BoxFormat("resized"), QWEN), Convention(BoxFormat("resized"), SMALL), SHOWN)) >= 4


def test_conventions_that_coincide_are_called_as_the_first():
    like = Convention(BoxFormat("resized"), ResizeRule(28, 56 * 56, 28 * 28 * 16000))
    own = Convention(BoxFormat("resized"), QWEN)
    spoken = answers(own, gold())
    assert judge(spoken, [like, own]).called == like
    assert judge(spoken, [own, like]).called == own


def test_images_between_two_conventions_call_none():
    """On images whose sides are multiples of 28, pixels before and after the resize are the same."""
    questions = tuple(
        question for drawing in draw([(280, 196), (392, 252), (644, 476), (504, 756)]) for question in drawing.shown
    )
    own = Convention(BoxFormat("resized"), QWEN)
    plain = Convention(BoxFormat("original"))
    assert judge(answers(own, gold(questions), questions), [plain, own]).called == plain
    mixed = [plain if number % 2 else own for number in range(len(SHOWN))]
    numbers = tuple(answers(c, gold()).numbers[place] for place, c in enumerate(mixed))
    judgement = judge(Answered(SHOWN, numbers), UNKNOWN)
    assert judgement.called is None
    assert "its boxes fit pixels" in judgement.reason


@pytest.mark.parametrize("rule", [None, SMALL, QWEN])
def test_drawn_images(rule: ResizeRule | None):
    sizes = sizes_for(rule)
    drawings = draw(sizes)
    assert len(drawings) == 12
    assert all(width != height for width, height in sizes)
    assert len({(width / height > 1) for width, height in sizes}) == 2
    for drawing in drawings:
        names = {question.mention.span for question in drawing.shown}
        assert len({word for name in names for word in name.split()}) == 6  # three colours and three figures
        assert not set(drawing.absent.mention.span.split()) & {word for name in names for word in name.split()}
        for question in drawing.shown:
            (box,) = question.boxes
            assert box.inside(question.size)
            assert question.text[question.mention.start : question.mention.end] == question.mention.span
            if max(question.size) < 500:
                assert iou(box, coloured(question.picture, COLOURS[question.mention.span.split()[0]])) > 0.9
            assert question.mention.span.split()[1] in FIGURES
    if rule is SMALL:
        assert sum(width * height > rule.max_pixels for width, height in sizes) >= 2


def coloured(picture: Image.Image, colour: tuple[int, int, int]) -> Box:
    """The box around all pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    return Box(float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))


def test_drawing_depends_on_the_seed_only():
    again = [question.boxes for drawing in draw(sizes_for(None), 5) for question in drawing.shown]
    assert again == [question.boxes for drawing in draw(sizes_for(None), 5) for question in drawing.shown]
    assert again != [question.boxes for question in SHOWN]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[1, 2, 3, 4]", (1, 2, 3, 4)),
        ('```json\n[{"bbox_2d": [12, 30, 400, 500], "label": "red circle"}]\n```', (12, 30, 400, 500)),
        ('[{"box_2d": [1, 2, 3, 4]}, {"box_2d": [5, 6, 7, 8]}]', (1, 2, 3, 4)),
        ("<|box_start|>(10,20),(30,40)<|box_end|>", (10, 20, 30, 40)),
        ("<box>[[5, 6, 7, 8]]</box>", (5, 6, 7, 8)),
        ("<|begin_of_box|>[[5,6,7,8]]<|end_of_box|>", (5, 6, 7, 8)),
        ("The box is **(0.12, 0.3) to** hmm [0.12, 0.3, 0.4, 0.9].", (0.12, 0.3, 0.4, 0.9)),
        ("12%, 5%, 30%, 40%", (12, 5, 30, 40)),
        ("x1: 1, y1: 2, x2 = 3.5, y2 = 4", (1, 2, 3.5, 4)),
        ('{"y_min": 2, "x_min": 1, "y_max": 40, "x_max": 30}', (1, 2, 30, 40)),
        ("left=1 top=2 right=3 bottom=4", (1, 2, 3, 4)),
        ("<think>perhaps [9, 9, 9, 9]?</think>[1, 2, 3, 4]", (1, 2, 3, 4)),
        ("perhaps [9, 9, 9, 9]?</think>\n[1, 2, 3, 4]", (1, 2, 3, 4)),
        ("<think>perhaps [9, 9, 9, 9]", None),
        ("(1, 2) to (3, 4)", (1, 2, 3, 4)),
        ("The top-left corner is at (1, 2) and the bottom-right corner at (3, 4).", (1, 2, 3, 4)),
        ("[1, 2] - [3, 4]", (1, 2, 3, 4)),
        ("◁think▷perhaps [9, 9, 9, 9]?◁/think▷[1, 2, 3, 4]", (1, 2, 3, 4)),
        ("<|channel>thought\nperhaps [9, 9, 9, 9]?<channel|>[1, 2, 3, 4]", (1, 2, 3, 4)),
        ("[THINK]perhaps [9, 9, 9, 9]?[/THINK][1, 2, 3, 4]", (1, 2, 3, 4)),
        ("◁think▷perhaps [9, 9, 9, 9]", None),
        ("The circle (5, 6) touches 2 squares (7, 8).", None),
        ("There are 4 shapes, 2 red and 1 blue.", None),
        ("version 1.2.3.4", None),
        ("x1: 1, y1: 2", None),
        ("", None),
        ("iPhone 6: [10, 20, 30, 40]", (10, 20, 30, 40)),
        ("x0: 1, y0: 2, x1: 3, y1: 4", (1, 2, 3, 4)),
        ("from x=1, y=2 to x = 3, y = 4", (1, 2, 3, 4)),
        ("100, 200, 300 and 400", (100, 200, 300, 400)),
        ("[1px, 2px, 3px, 4px]", (1, 2, 3, 4)),
        ("[.1, .2, .3, .4]", (0.1, 0.2, 0.3, 0.4)),
        ("**(1, 2)** – **(3, 4)**", (1, 2, 3, 4)),
        ("[1\uff0c2\uff0c3\uff0c4]", (1, 2, 3, 4)),
        ('{"x": 1, "y": 2, "width": 3, "height": 4}', None),
    ],
)
def test_boxes_in_free_text(text: str, numbers: tuple[float, ...] | None):
    assert read_free(text) == numbers


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str):
    numbers = read_free(text)
    assert numbers is None or len(numbers) == 4


def test_location_tokens_in_free_text():
    assert read_location_tokens("<loc0000><loc0341><loc0682><loc1023> cat") == pytest.approx(
        (0, 333.3, 666.7, 1000), abs=0.1
    )
    assert read_location_tokens("cat<loc_0><loc_333><loc_666><loc_999>") == pytest.approx(
        (0, 333.3, 666.7, 1000), abs=0.1
    )
    assert read_location_tokens("[1, 2, 3, 4]") is None


def test_conventions_of_a_profile():
    qwen = ModelProfile(BoxFormat("resized"), rule=SMALL)
    assert in_force(qwen) == candidates(qwen)[0] == Convention(BoxFormat("resized"), SMALL)
    assert {c.rule for c in candidates(qwen)} == {None, SMALL}
    own = ModelProfile(BoxFormat("normalized", 512))
    assert in_force(own) == candidates(own)[0] == Convention(BoxFormat("normalized", 512))
    assert {c.rule for c in candidates(own, local=True)} == {None}
    assert QWEN in {c.rule for c in candidates(own)}
    assert in_force(ModelProfile(BoxFormat("resized"))) is None
    assert in_force(None) is None
    assert len(candidates(None)) == len(set(candidates(None))) == 10


def test_iou_of_arrays_is_that_of_boxes():
    rng = random.Random(0)
    pairs = [[sorted(rng.random() for _ in range(2)) for _ in range(4)] for _ in range(50)]
    boxes = [(Box(a[0], b[0], a[1], b[1]), Box(c[0], d[0], c[1], d[1])) for a, b, c, d in pairs]
    found = ious(*(np.array([pair[side].as_tuple() for pair in boxes]) for side in (0, 1)))
    assert found == pytest.approx([iou(a, b) for a, b in boxes])
    assert ious(np.zeros(4), np.zeros(4)) == 0


def post(id_: str, *boxes: Box | None, grounded: bool = True) -> Post:
    text = " ".join(f"N{number}" for number in range(len(boxes)))
    entities = tuple(
        GoldEntity(f"N{number}", 3 * number, 3 * number + 2, "PER", () if box is None else (box,))
        for number, box in enumerate(boxes)
    )
    return Post(id_, text, Image.new("RGB", (60, 40)), entities, grounded=grounded)


def test_questions_of_posts_take_turns():
    box = Box(1, 2, 3, 4)
    posts = [post("a", box, box, None), post("b", box), post("c", box, grounded=False), Post("d", "N0")]
    questions = questions_of(posts)
    assert [(question.text, question.mention.span, bool(question.boxes)) for question in questions] == [
        ("N0 N1 N2", "N0", True), ("N0", "N0", True), ("N0 N1 N2", "N1", True), ("N0 N1 N2", "N2", False),
    ]  # fmt: skip
    assert len(questions_of([post(str(number), box, None) for number in range(80)])) == 60
    with pytest.raises(InputError, match="No entity of the posts has a box"):
        questions_of([post("a", None)])


def test_only_boxes_in_the_first_image_are_asked_for():
    first, second = Image.new("RGB", (60, 40)), Image.new("RGB", (600, 400))
    shown, elsewhere = Box(1, 2, 30, 20), Box(300, 200, 500, 390, picture=2)
    gold = (GoldEntity("Ana", 0, 3, "PER", (shown,)), GoldEntity("Bo", 4, 6, "PER", (elsewhere,)))
    questions = questions_of([Post("a", "Ana Bo", first, gold, more_images=(second,))])
    assert [question.boxes for question in questions] == [(shown,), ()]
