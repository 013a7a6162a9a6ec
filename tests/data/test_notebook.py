"""Representations of posts, predictions and lists in a notebook and as text."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from pages import Page, answer_of, drawn, post_of
from strategies import answered

from gmner.data.html_formatters import HtmlFormatters
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.oddities import Oddity, Posts
from gmner.data.pages.markup import segments
from gmner.data.pages.notebook import SHOWN, entity_html, predictions_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.readers.answers import read_answers
from gmner.data.world.generate import World
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity

ADA = GroundedEntity("Ada", 0, 3, "PER", Box(1, 2, 30, 40))
AL = GroundedEntity("Al", 8, 10, "PER")


def many(count, **fields):
    return Posts(post_of(id=str(number), image=drawn(), **fields) for number in range(count))


@given(answered(), st.booleans())
def test_full_text_is_shown(pair, pictured):
    post, found = pair
    image = drawn() if pictured else None
    page = Page(entity_html(post.text, image, found))
    assert "".join(part.text for part in segments(post.text, found)) == post.text
    assert page.count("rect", **{"class": "box"}) == (sum(e.visible for e in found) if pictured else 0)
    assert page.count("li") == len(found)


def test_reasoning_is_collapsed():
    page = Page(entity_html("Ada met Al", None, [ADA], "The face is hers."))
    assert page.count("details") == 1
    assert "The face is hers." in page.text
    assert Page(entity_html("Ada met Al", None, [ADA])).count("details") == 0


def test_post_shows_image_and_gold():
    page = Page(post_of(image=drawn(), slice="mixed")._repr_html_())
    assert page.count("image") == 1
    assert page.count("rect", **{"class": "box"}) == 2
    for words in ("gold", "mixed", "Ada", "2 boxes"):
        assert words in page.text
    assert "right" not in page.text


def test_unannotated_post_is_marked():
    page = Page(Post("1", "Ada met Al")._repr_html_())
    assert "Ada met Al" in page.text
    assert "not annotated" in page.text
    assert "no entities" not in page.text
    assert "no entities" in Page(Post("1", "Ada met Al", entities=())._repr_html_()).text


def test_unreadable_image_is_reported(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page = Page(post_of(image=tmp_path / "broken.png")._repr_html_())
    assert page.count("svg") == 0
    assert page.count("p", **{"class": "gm-none"}) == 1


def test_list_shows_its_first_posts_and_the_total():
    page = Page(many(SHOWN + 1)._repr_html_())
    assert page.count("article") == page.count("image") == SHOWN
    assert f"first {SHOWN} of {SHOWN + 1} posts" in page.text
    assert "first" not in Page(many(SHOWN)._repr_html_()).text
    assert "no posts" in Page(Posts()._repr_html_()).text


def test_predictions_are_compared_with_the_gold():
    posts = many(2)
    answers = Predictions([answer_of(posts[0], ADA), answer_of(posts[1], AL, reasoning="because")], posts)
    page = Page(answers._repr_html_())
    assert page.count("section") == 4
    assert page.count("section", **{"class": "gm-gold"}) == 2
    names = [attrs["id"] for tag, attrs in page.tags if tag == "image"]
    used = [attrs["href"] for tag, attrs in page.tags if tag == "use"]
    assert used == [f"#{name}" for name in names]  # each image is embedded once and reused
    for words in ("right", "invented", "missed", "because"):
        assert words in page.text


def test_images_have_unique_names():
    first, second = post_of(image=drawn()), post_of(image=drawn((48, 64)))
    names = {
        attrs["id"]
        for post in (first, second)
        for tag, attrs in Page(predictions_html([answer_of(post, ADA)], [post])).tags
        if tag == "image"
    }
    assert len(names) == 2


def test_predictions_without_posts_show_only_text():
    post = post_of(image=drawn())
    for shown in (answer_of(post, ADA), Predictions([answer_of(post, ADA)]), Predictions([answer_of(post, ADA)], [])):
        page = Page(shown._repr_html_())
        assert page.count("section") == 1
        assert page.count("svg") == 0
        assert "Ada" in page.text
        assert "right" not in page.text


def test_failed_prediction_shows_its_error():
    failed = answer_of(post_of(), error={"kind": "truncated_answer", "message": "The budget ended."})
    assert "truncated_answer: The budget ended." in Page(failed._repr_html_()).text
    assert repr(failed) == "Prediction('1', 'Ada met Al', failed: truncated_answer)"


def test_repr_is_short():
    long = post_of(text="Ada " + "la " * 500, image=drawn())
    assert repr(post_of()) == "Post('1', 'Ada met Al', 1 entity, no images)"
    assert repr(Post("1", "x", entities=())) == "Post('1', 'x', no entities, no images)"
    assert repr(Post("1", "x")) == "Post('1', 'x', not annotated, no images)"
    assert repr(replace(long, more_images=(drawn(),))).endswith("…', 1 entity, 2 images)")
    assert len(repr(long)) < 100
    assert repr(answer_of(post_of(), ADA, AL)) == "Prediction('1', 'Ada met Al', 2 entities)"


def test_repr_of_lists():
    assert repr(Posts()) == "Posts(0)"
    assert repr(many(3)) == "Posts(3: '0', '1', '2')"
    odd = Posts(many(1200), [Oddity("kind", "where", "what")])
    assert repr(odd) == "Posts(1,200: '0', '1', '2', …; 1 oddity, see report())"
    failed = answer_of(post_of(), error={"kind": "k", "message": "m"})
    assert repr(Predictions([failed])) == "Predictions(1: '1'; 1 failed)"


def test_slices_and_copies_keep_metadata():
    posts = Posts(many(4), [Oddity("kind", "where", "what")])
    answers = Predictions([answer_of(post, ADA) for post in posts], posts)
    assert isinstance(posts[0], Post)
    assert isinstance(answers[-1], Prediction)
    for part in (posts[1:3], copy.copy(posts), pickle.loads(pickle.dumps(posts))):
        assert type(part) is Posts
        assert part.oddities == posts.oddities
    for part in (answers[1:3], copy.copy(answers)):
        assert type(part) is Predictions
        assert part.posts == answers.posts
    assert posts[1:3] == list(posts)[1:3]
    assert "2" in Page(answers[2:3]._repr_html_()).text


def test_lists_of_the_library_have_representations(tmp_path):
    posts = World().posts("dev", 2)
    assert type(posts) is Posts
    write_predictions([answer_of(post) for post in posts], tmp_path / "answers.jsonl")
    assert type(read_predictions(tmp_path / "answers.jsonl")) is Predictions
    assert read_answers(tmp_path / "answers.jsonl", posts).posts == tuple(posts)
    (tmp_path / "triples.txt").write_text("None\nNone\n")
    assert read_answers(tmp_path / "triples.txt", posts).posts == tuple(posts)


LIGHT = """
import sys
import gmner.data.post
pages = {"jinja2", "gmner.data.pages.notebook"}
assert not pages & set(sys.modules), "pages are loaded too early"
assert "Ada" in gmner.data.post.Post("1", "Ada met Al")._repr_html_()
assert pages <= set(sys.modules)
"""


def test_pages_are_imported_on_first_display(tmp_path):
    run = subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_formatters_are_found_by_class():
    class Base: ...

    class Derived(Base): ...

    formatters = HtmlFormatters()
    formatters.register(Base, lambda value: "base")
    assert (formatters.html(Base()), formatters.html(Derived()), formatters.html(1)) == ("base", "base", None)
