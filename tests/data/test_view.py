"""The HTML views: their content, and the escaping of posts."""

import base64
import hashlib
import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pages import EVIL, Page, answer_of, drawn, post_of

from gmner.data.pages.answers_page import render_html, save_html
from gmner.data.pages.markup import LONG_SIDE, Picture, Rect, colours, drawing_size, picture_for_page, rects, segments
from gmner.data.pages.notebook import entity_html, posts_html, predictions_html
from gmner.data.pages.score_tables import change_table
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.scoring.evaluate import evaluate
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity


def test_page_shows_stages_side_by_side():
    post = post_of(image=drawn(), slice="mixed")
    wrong = answer_of(post, GroundedEntity("Al", 8, 10, "ORG"), reasoning="because")
    right = answer_of(post, GroundedEntity("Ada", 0, 3, "PER", Box(1, 2, 30, 40)))
    stages = {"before": wrong, "after CVO": right}
    scores = {name: evaluate([answer], [post]) for name, answer in stages.items()}
    page = Page(render_html([(post, stages)], title="A title", scores=scores))
    assert page.count("article", **{"data-slice": "mixed", "data-wrong": "0", "data-last": "1"}) == 1
    assert page.count("section", **{"class": "panel gold"}) == 1
    assert page.count("section", **{"class": "panel judged wrong"}) == 1
    assert page.count("section", **{"class": "panel judged"}) == 1
    assert page.count("rect", **{"class": "box"}) == 3  # two gold boxes and a predicted one
    assert page.count("image") == 1  # embedded once and used by every panel
    assert page.count("use") == 2
    assert page.count("mark") == 3
    for words in ("missed", "invented", "right", "because", "before", "after CVO", "2 boxes", "0.00", "100.00"):
        assert words in page.text


def test_page_loads_nothing_external():
    html = render_html([(post_of(image=drawn()), {})], title="t")
    for _, attrs in Page(html).tags:
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#p", "data:image/", "#"))
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_only_the_script_of_the_page_may_run():
    html = render_html([(post_of(text=EVIL), {})], title=EVIL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_untrusted_text_is_escaped(tmp_path):
    name = "a<script>b\"'.png"
    (tmp_path / name).write_bytes(b"no picture")
    gold = (GoldEntity(EVIL, 0, len(EVIL), EVIL, (Box(1, 1, 2, 2),)),)
    broken = Post(EVIL, EVIL, tmp_path / name, gold, slice=EVIL)
    whole = replace(broken, id=EVIL + "2", image=drawn())
    said = GroundedEntity(EVIL, 0, len(EVIL), EVIL + "x", Box(1, 1, 2, 2))
    error = {"kind": EVIL, "message": EVIL}
    pairs = [(post, {EVIL: answer_of(post, said, reasoning=EVIL, error=error)}) for post in (broken, whole)]
    scores = {EVIL: evaluate([pair[1][EVIL] for pair in pairs], [broken, whole])}
    alone = entity_html(EVIL, drawn(), [said], EVIL) + entity_html(EVIL, tmp_path / name, [said])
    notebook = alone + predictions_html([pair[1][EVIL] for pair in pairs], [broken, whole])
    for html in (render_html(pairs, title=EVIL, scores=scores), notebook, posts_html([broken, whole])):
        page = Page(html)
        assert page.count("script") == html.count("default-src 'none'")  # that of the report; none in a notebook
        assert page.count("img") == 0
        assert not any(attribute.startswith("on") for _, attrs in page.tags for attribute in attrs)
        assert EVIL in page.text
        assert "49" not in re.sub(r"data:image[^\"]*|sha256-[^']*", "", html)
        styles = [attrs["style"] for _, attrs in page.tags if "style" in attrs]
        known = r"--c:#[0-9a-f]{6}(;--[xy]:[\d.]+)*|--panels:\d|--names:\d+;--r:[\d.]+"
        assert all(re.fullmatch(known, style) for style in styles)


def test_segments_examples():
    whole, part = GroundedEntity("Ada Lace", 0, 8, "PER"), GroundedEntity("Lace", 4, 8, "ORG")
    nowhere = GroundedEntity("Bob", -1, -1, "PER", None, Alignment.MISSING)
    found = segments("Ada Lace met", [whole, part, nowhere])
    assert [(s.text, s.type, s.label) for s in found] == [
        ("Ada ", "PER", ""),
        ("Lace", "PER", "PER/ORG"),
        (" met", None, ""),
    ]


def test_boxes_are_drawn_in_original_pixels():
    picture = picture_for_page(drawn((960, 480)))
    assert (picture.size, picture.drawing) == ((960, 480), (480, 240))
    data = base64.b64decode(picture.uri.partition(",")[2])
    assert data[:3] == b"\xff\xd8\xff"
    mention = GroundedEntity("Ada", 0, 3, "PER")
    (rect,) = rects([(mention, Box(480, 240, 2000, 480))], picture)
    assert (rect.x, rect.y, rect.width, rect.height) == (240, 120, 240, 120)
    assert drawing_size((10_000, 1)) == (LONG_SIDE, 1)


def test_names_are_outside_of_their_boxes_where_there_is_space():
    picture = picture_for_page(drawn((480, 480)))

    def named(*corners: float) -> Rect:
        return rects([(GroundedEntity("Ada", 0, 3, "PER"), Box(*corners))], picture)[0]

    above, below, inside = named(10, 100, 90, 200), named(10, 5, 90, 200), named(10, 5, 90, 475)
    assert (above.name_above, above.name_at) == (True, pytest.approx((10 / 480, 100 / 480), abs=1e-4))
    assert (below.name_above, below.name_at) == (False, pytest.approx((10 / 480, 200 / 480), abs=1e-4))
    assert (inside.name_above, inside.name_at) == (False, pytest.approx((10 / 480, 5 / 480), abs=1e-4))
    right = named(400, 100, 460, 200)
    assert (right.name_at_right, right.name_at[0]) == (True, pytest.approx(460 / 480, abs=1e-4))


@example(corners=[(18, 40, 100, 470), (0, 0, 91, 470)])  # the first name is between two places of the second
@given(corners=st.lists(st.tuples(*[st.integers(0, 470)] * 4), min_size=1, max_size=5))
def test_names_do_not_overlap(corners: list[tuple[int, int, int, int]]):
    picture = Picture("", (480, 480), (480, 480))
    boxes = [Box(min(a, c), min(b, d), max(a, c) + 9, max(b, d) + 9) for a, b, c, d in corners]
    found = rects([(GroundedEntity("Ada", 0, 3, "PER"), box) for box in boxes], picture)
    places = []
    for rect in found:
        x, y = (share * 480 for share in rect.name_at)
        places.append((x - 40 if rect.name_at_right else x, y - 27 if rect.name_above else y))
    assert all(abs(a[0] - b[0]) >= 40 or abs(a[1] - b[1]) >= 26.9 for a, b in combinations(places, 2))


def test_what_each_system_mended_and_broke():
    posts = [post_of(text="Ada met Al"), replace(post_of(text="Ada met Al"), id="2")]
    gold = posts[0].gold
    right = tuple(GroundedEntity(g.span, g.start, g.end, g.type, g.boxes[0] if g.boxes else None) for g in gold)
    first = [answer_of(posts[0]), answer_of(posts[1], *right)]
    second = [answer_of(posts[0], *right), answer_of(posts[1])]
    pairs = [(post, {"a": one, "b": two}) for post, one, two in zip(posts, first, second, strict=True)]
    scores = {"a": evaluate(first, posts), "b": evaluate(second, posts)}
    table = change_table(pairs, ["a", "b"], scores)
    figures = {name: cells[0][0] for name, cells in table.rows}
    assert table.columns == ["b"]
    assert figures["posts mended"] == figures["posts broken"] == "1"
    assert figures["mentions mended"] == figures["mentions broken"] == str(len(gold))
    assert float(figures["gain in GMNER F1"]) == pytest.approx(scores["b"].gmner.f1 - scores["a"].gmner.f1, abs=0.06)
    assert change_table(pairs, ["a"], scores) is None
    bare = [(replace(post, entities=None), answers) for post, answers in pairs]
    assert change_table(bare, ["a", "b"], {}) is None
    assert "Mended and broken against a" in Page(render_html(pairs, title="t", scores=scores)).text


def test_posts_without_annotations_or_predictions():
    bare = Post("1", "Ada met Al")
    html = render_html([(bare, {"answers": answer_of(bare, GroundedEntity("Ada", 0, 3, "PER"))})], title="t")
    page = Page(html)
    assert page.count("section", **{"class": "panel gold"}) == 0
    assert "not shown" in page.text
    assert "missed" not in page.text
    assert "invented" not in page.text
    assert "no image" in page.text
    assert "Ada met Al" in Page(render_html([(bare, {})], title="t")).text
    assert Page(render_html([(post_of(), {})], title="t")).count("section", **{"class": "panel gold"}) == 1


def test_only_annotated_posts_have_a_verdict():
    """Among annotated posts, too; and a post that a system did not answer is neither mended nor broken."""
    post, bare = post_of(), Post("2", "Ada met Al")
    right = GroundedEntity("Ada", 0, 3, "PER", Box(1, 2, 30, 40))
    failed = answer_of(bare, error={"kind": "bad_image", "message": "Broken."})
    pairs = [(post, {"a": answer_of(post)}), (post_of(id="3"), {"b": answer_of(post, right)}),
             (bare, {"a": failed, "b": answer_of(bare, right)})]  # fmt: skip
    page = Page(render_html(pairs, title="t"))
    cards = [(attrs["data-wrong"], attrs["data-right"]) for tag, attrs in page.tags if tag == "article"]
    assert cards == [("0", ""), ("", "1"), ("", "")]
    assert page.count("em", **{"class": "verdict"}) == 2
    assert page.count("section", **{"class": "panel"}) == 2
    assert "Broken." in page.text


def test_more_boxes_are_drawn():
    post = post_of(image=drawn())
    several = GroundedEntity("Ada", 0, 3, "PER", Box(1, 2, 30, 40), more_boxes=(Box(2, 2, 9, 9),))
    page = Page(render_html([(replace(post, entities=None), {"a": answer_of(post, several)})], title="t"))
    assert page.count("rect", **{"class": "box"}) == 2
    assert "2 boxes" in page.text


def test_error_is_shown_with_its_message():
    post = post_of()
    failed = answer_of(post, error={"kind": "truncated_answer", "message": "The budget ended."})
    page = Page(render_html([(post, {"a": failed})], title="t"))
    assert "truncated_answer: The budget ended." in page.text
    assert page.count("article", **{"data-wrong": "0"}) == 1


def test_page_with_scores_only():
    post = post_of()
    scores = {"x": evaluate([], [post])}
    assert "GMNER F1" in Page(render_html([], title="t", scores=scores)).text
    with pytest.raises(InputError, match="Nothing to show"):
        render_html([], title="t")


def test_types_beyond_the_palette_still_have_a_colour():
    names = {f"T{number}" for number in range(60)}
    assert set(colours(names)) >= names
    assert len({colours(())[name] for name in ("PER", "LOC", "ORG", "OTHER")}) == 4


def test_without_annotated_regions_no_box_is_wrong():
    post = Post("1", "Ada", None, (GoldEntity("Ada", 0, 3, "PER"),), grounded=False)
    answer = Prediction("1", "Ada", "", (GroundedEntity("Ada", 0, 3, "PER", Box(0, 0, 5, 5)),))
    page = render_html([(post, {"a": answer})], title="t", scores={"a": evaluate([answer], [post])})
    assert "boxed though not shown" not in page
    assert "GMNER F1" not in page
    assert "MNER F1" in page


def test_save_html_accepts_every_value_with_html(tmp_path):
    posts = [post_of(image=drawn()), post_of(id="2", text="Al met Ada")]
    answers = Predictions([answer_of(posts[0], GroundedEntity("Al", 8, 10, "ORG"))], posts)
    page = Page(save_html(answers, tmp_path / "answers.html").read_text())
    assert page.count("article") == page.count("section", **{"class": "panel gold"}) == 1
    assert "invented" in page.text
    assert page.count("article") == 1
    assert Page(save_html(posts, tmp_path / "posts.html").read_text()).count("article") == 2
    assert Page(save_html(tuple(posts), tmp_path / "posts.html").read_text()).count("article") == 2
    for one in (posts[0], answers[0], (posts[0], {"a": answers[0], "b": answers[0]})):
        assert Page(save_html(one, tmp_path / "one.html", title="A title").read_text()).count("article") == 1
    assert "GMNER F1" in Page(save_html(evaluate(answers, posts[:1]), tmp_path / "scores.html").read_text()).text


@pytest.mark.parametrize(("shown", "fact"), [("Ada", "Cannot show"), ([1], "Cannot show"), ([], "Nothing to")])
def test_save_html_refuses_other_values(shown, fact, tmp_path):
    with pytest.raises(InputError, match=fact):
        save_html(shown, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_page_with_a_lone_surrogate(tmp_path):
    post = Post("\ud83d", "Ana \ud83d")
    page = save_html([(post, {"a": Prediction(post.id, post.text, "\ud83d")})], tmp_path / "page.html")
    assert "Ana \ufffd" in page.read_text(encoding="utf-8")
    posts_html([post]).encode()


def test_answers_without_scores_are_not_compared():
    """Such as the sampled answers of CVO, the first of which is the best one in any case."""
    post = Post("1", "Ana", None, (GoldEntity("Ana", 0, 3, "PER"),))
    found = GroundedEntity("Ana", 0, 3, "PER")
    answers = {"one": (), "other": (found,)}
    predictions = {name: Prediction("1", "Ana", "", entities) for name, entities in answers.items()}
    page = render_html([(post, predictions)], title="t")
    assert "wrong in" in page
    assert "mended" not in page.lower()
