"""The checker of chains: refused chains, accepted chains, and the entity named in a problem."""

import random
import re

import pytest
from worlds import drawn

from gmner.data.post import Post, SceneObject
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.optimizers.chains import checker
from gmner.optimizers.chains.checker import Contradiction, check_chain
from gmner.optimizers.chains.styles import TEMPLATES, Facts, draft_chain
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

FRAME = Frame(BoxFormat("normalized", 1000), (256, 256))
HALF, CORNER = Box(0, 0, 128, 256), Box(128, 0, 256, 128)
POST = Post(
    "1",
    "Ada Lane meets St . Helens fans in Oslo tonight",
    None,
    (
        GoldEntity("Ada Lane", 0, 8, "PER", (HALF,)),
        GoldEntity("St . Helens", 15, 26, "ORG"),
        GoldEntity("Oslo", 35, 39, "LOC"),
    ),
    scene=(SceneObject("Ada Lane", "PER", HALF), SceneObject("Orb", "ORG", CORNER)),
)
FACTS = Facts.of(POST, FRAME)
RIGHT = (
    "Ada Lane (PER) is shown at [0,0,500,1000]. St . Helens (ORG) is not shown, only Orb is. "
    "Oslo (LOC) does not appear in the picture."
)


def kinds(chain, facts=FACTS, **options):
    return {problem.kind for problem in check_chain(chain, facts, **options)}


def test_correct_chain_and_empty_chain_pass():
    assert kinds(RIGHT) == kinds("") == kinds("  ") == set()


@pytest.mark.parametrize(
    ("old", "new", "kind", "blames"),
    [
        ("Oslo (LOC)", "It (LOC)", "missing_span", "Oslo"),
        ("(ORG)", "(PER)", "wrong_type", "St . Helens"),
        ("is shown at [0,0,500,1000]", "is not shown", "wrong_visibility", "Ada Lane"),
        ("does not appear in the picture", "appears at [500,0,1000,500]", "wrong_box", "Oslo"),
        ("does not appear in", "can be seen in", "wrong_visibility", "Oslo"),
        ("[0,0,500,1000]", "[0,0,400,1000]", "wrong_box", "Ada Lane"),
        ("[0,0,500,1000]", "[0,0,500]", "wrong_box", "Ada Lane"),
        ("only Orb is.", "only Orb is. tonight (OTHER) is named too.", "no_entity", "tonight"),
        ("only Orb is.", "only Orb is. Big Ben (LOC) is named too.", "no_entity", "Big Ben"),
        ("only Orb is.", "only Orb (PER) is.", "no_entity", "Orb"),
        (" (LOC)", "", "unsaid", "Oslo"),
        (" does not appear in the picture", " is a city", "unsaid", "Oslo"),
        (" at [0,0,500,1000]", "", "unsaid", "Ada Lane"),
    ],
)
def test_each_contradiction_is_reported_with_its_name(old, new, kind, blames):
    assert old in RIGHT
    found = check_chain(RIGHT.replace(old, new), FACTS)
    assert kind in {problem.kind for problem in found}
    assert any(blames in problem.message for problem in found)


def test_omissions_are_refused_only_on_request():
    assert kinds("Ada Lane, St . Helens and Oslo.", complete=False) == set()
    assert kinds("Ada Lane, St . Helens and Oslo.") == {Contradiction.UNSAID}


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        ("Names: Ada Lane, St . Helens, Oslo, tonight.", "no_entity"),
        ("Names: Ada Lane, St . Helens, Oslo, Orb.", "no_entity"),
        ("Which names? Ada Lane, St . Helens, Oslo, fans.", "no_entity"),
        ("Named: Ada Lane, St . Helens, Oslo. Shown: Oslo.", "wrong_visibility"),
        ("Named: Ada Lane, St . Helens, Oslo. Shown: none.", "wrong_visibility"),
        ("Named: Ada Lane, St . Helens, Oslo. Only named: Oslo.", "wrong_visibility"),
        ("Named: Ada Lane, St . Helens, Oslo. Only shown: Ada Lane.", "wrong_visibility"),
        ("Picture: Ada Lane [0,0,500,1000]; Oslo. Names: Ada Lane, St . Helens, Oslo.", "wrong_visibility"),
        ("Oslo [500,0,1000,500]. Names: Ada Lane, St . Helens, Oslo.", "wrong_box"),
        ("Picture: Ada Lane. Names: St . Helens, Oslo.", "missing_span"),
        ("Is Ada Lane shown? no. St . Helens, Oslo.", "wrong_visibility"),
        ("Is Oslo shown? yes. Ada Lane, St . Helens.", "wrong_visibility"),
        ("PER: Ada Lane, Oslo. ORG: St . Helens.", "wrong_type"),
    ],
)
def test_lists_and_questions(chain, kind):
    assert kinds(chain, complete=False) == {kind}


def test_count_is_checked():
    assert kinds(f"{RIGHT} So 3 entities.") == set()
    assert kinds(f"{RIGHT} So 2 entities.") == kinds(f"{RIGHT} So no entities.") == {Contradiction.WRONG_COUNT}


def test_questions_and_negated_types_are_not_claims():
    assert kinds("Is Oslo shown? Ada Lane is not ORG. St . Helens.", complete=False) == set()


def test_rounded_boxes_match_any_gold_box():
    twice = Facts.of(Post("1", "Ada", None, (GoldEntity("Ada", 0, 3, "PER", (HALF, CORNER)),)), FRAME)
    for box in ("[0,0,500,1000]", "[501, 0, 999, 500]"):
        assert kinds(f"Ada (PER) is shown at {box}.", twice) == set()
    assert kinds("Ada (PER) is shown at [0,0,1000,1000].", twice) == {"wrong_box"}  # the hull of both is not a gold box


def test_longer_name_is_not_its_part():
    gold = (GoldEntity("Oslo", 0, 4, "LOC"), GoldEntity("Oslo Arena", 8, 18, "ORG"))
    facts = Facts.of(Post("1", "Oslo at Oslo Arena", None, gold), FRAME)
    assert kinds("Oslo (LOC) is not shown. Oslo Arena (ORG) is not shown.", facts) == set()
    assert kinds("Oslo Arena (ORG) is not shown.", facts) == {"missing_span"}
    assert kinds("Oslo (LOC) and Osloer are not shown.", Facts.of(Post("1", "Oslo", None, gold[:1]), FRAME)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("style", TEMPLATES)
def test_chain_for_other_gold_is_refused(style):
    for post in drawn("train", 60, seed=5):
        facts = Facts.of(post, FRAME)
        for entity in post.gold:
            others = tuple(e for e in post.gold if e is not entity)
            wrong = GoldEntity(entity.span, *entity.key, "LOC" if entity.type != "LOC" else "PER", entity.boxes)
            text = draft_chain(
                TEMPLATES[style], Facts.of(Post("1", post.text, None, (*others, wrong)), FRAME), random.Random(0)
            ).text
            assert Contradiction.WRONG_TYPE in kinds(text, facts) or any(e.span == entity.span for e in others)


@pytest.mark.slow
def test_templates_pass_on_real_tweets(twitter_root):
    posts = read_twitter_gmner(twitter_root, "train")[:200]
    for post in posts:
        corners = [value for e in post.gold for box in e.boxes for value in (box.x2, box.y2)] or [256]
        side = int(max(corners)) + 1
        facts = Facts.of(post, Frame(BoxFormat(), (side, side)))
        for style in TEMPLATES.values():
            text = draft_chain(style, facts, random.Random(post.id)).text
            assert text
            assert check_chain(text, facts) == []


def test_checking_repeated_types_is_linear(monkeypatch):
    searches = []

    class Counting:
        def __getattr__(self, name):
            searches.append(name)
            return getattr(re, name)

    monkeypatch.setattr(checker, "re", Counting())
    work = []
    for size in (20, 80):
        searches.clear()
        assert {problem.kind for problem in check_chain("PER " * size, FACTS)} >= {Contradiction.MISSING_SPAN}
        work.append(len(searches))
    assert work[1] <= 5 * work[0]


@pytest.mark.parametrize(
    ("text", "name", "chain"),
    [
        ("蔡英文在东京", "蔡英文", "帖子提到蔡英文(PER), 蔡英文is shown at [0,0,500,1000]."),
        ("손흥민이 서울에서", "손흥민", "손흥민(PER)은 is shown at [0,0,500,1000]."),
        ("ลิซ่าในกรุงเทพ", "ลิซ่า", "โพสต์ลิซ่า (PER) is shown at [0,0,500,1000]."),
    ],
)
def test_names_without_spaces_around_them_are_found(text, name, chain):
    post = Post("1", text, None, (GoldEntity(name, 0, len(name), "PER", (HALF,)),))
    assert kinds(chain, Facts.of(post, FRAME)) == set()
