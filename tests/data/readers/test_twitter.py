"""The reader of Twitter-GMNER: the published counts, and what files can do wrong."""

from collections import Counter

import pytest
from PIL import Image

from gmner.data.evaluate import evaluate
from gmner.data.prediction import Prediction
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.readers.voc import read_boxes
from gmner.signatures.alignment import occurrences
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GroundedEntity

TWEET = "IMGID:7\nAda\tB-PER\nLace\tI-PER\nmet\tO\nAl\tB-PER\nOslo\tB-LOC\n\n"


def xml(*objects):
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for name, b in objects
    )
    return f"<annotation><size><width>500</width></size>{items}</annotation>"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "txt").mkdir()
    (tmp_path / "xml").mkdir()
    (tmp_path / "txt" / "train.txt").write_text(TWEET, encoding="utf-8")
    (tmp_path / "xml" / "7.xml").write_text(xml(("Ada Lace", (1, 2, 30, 40)), ("Ada Lace", (5, 5, 9, 9))))
    return tmp_path


def rewrite(root, text, split="train"):
    (root / "txt" / f"{split}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_twitter_gmner(root, split)


def test_a_tweet_by_hand(root):
    (post,) = read_twitter_gmner(root, "train")
    assert (post.id, post.text, post.image) == ("7", "Ada Lace met Al Oslo", None)
    assert post.tokens == ("Ada", "Lace", "met", "Al", "Oslo")
    found = [(e.span, e.start, e.end, e.type, e.boxes) for e in post.gold]
    assert found == [
        ("Ada Lace", 0, 8, "PER", (Box(1.0, 2.0, 30.0, 40.0), Box(5.0, 5.0, 9.0, 9.0))),
        ("Al", 13, 15, "PER", ()),
        ("Oslo", 16, 20, "LOC", ()),
    ]


@pytest.mark.parametrize(
    "text",
    [
        TWEET.replace("\n", "\r\n"),
        TWEET.rstrip("\n"),
        "\ufeff" + TWEET,
        "\n\n" + TWEET + "\n\n",
        TWEET.rstrip("\n") + "\n",
    ],
    ids=["crlf", "no last line end", "bom", "more blank lines", "no blank line at the end"],
)
def test_line_ends_do_not_matter(root, text):
    expected = read_twitter_gmner(root, "train")
    assert rewrite(root, text) == expected


def test_an_empty_file_is_an_empty_split(root):
    assert rewrite(root, "") == []


def test_tweets_need_no_blank_line_between_them(root):
    assert [post.id for post in rewrite(root, "IMGID:1\na\tO\nIMGID:2\nb\tO\n")] == ["1", "2"]


def test_odd_signs_in_tokens_do_not_break_lines(root):
    (post,) = rewrite(root, "IMGID:1\na\u2028b\tO\n\x85\x85x\tB-PER\n&amp\tO\n")
    assert post.tokens == ("a\u2028b", "\x85\x85x", "&amp")


def test_stray_inside_tags_start_a_mention_and_are_reported(root, caplog):
    (post,) = rewrite(root, "IMGID:1\nAda\tI-PER\nLace\tI-PER\nOslo\tI-LOC\nx\tO\nAl\tI-PER\n")
    assert [(e.span, e.type) for e in post.gold] == [("Ada Lace", "PER"), ("Oslo", "LOC"), ("Al", "PER")]
    assert [record.getMessage().split("train.txt:")[1][:2] for record in caplog.records] == ["2:", "4:", "6:"]


def test_an_object_that_names_no_entity_is_left_out_and_reported(root, caplog):
    (root / "xml" / "7.xml").write_text(xml(("ada lace", (1, 2, 3, 4)), ("Al", (1, 2, 3, 4))))
    (post,) = read_twitter_gmner(root, "train")
    assert [entity.visible for entity in post.gold] == [False, True, False]
    assert "'ada lace'" in caplog.text


def test_two_mentions_with_the_same_words_share_their_boxes(root):
    (post,) = rewrite(root, "IMGID:7\nAda\tB-PER\nLace\tI-PER\nAda\tB-PER\nLace\tI-PER\n")
    first, second = post.gold
    assert first.boxes == second.boxes != ()
    assert (first.key, second.key) == ((0, 8), (9, 17))


def test_a_repeated_id_is_kept_apart_and_reported(root, caplog):
    posts = rewrite(root, TWEET * 3)
    assert [post.id for post in posts] == ["7", "7#2", "7#3"]
    assert posts[2].gold == posts[0].gold
    assert "7#2" in caplog.text


@pytest.mark.parametrize(
    ("text", "line", "fact"),
    [
        ("IMGID:1\nAda B-PER\n", 2, "not a token and its tag"),
        ("IMGID:1\nAda\tO\nx\tPER\n", 3, "not a token and its tag"),
        ("IMGID:1\nAda\tB-\n", 2, "not a token and its tag"),
        ("IMGID:1\n\tO\n", 2, "not a token and its tag"),
        ("Ada\tO\n", 1, "stands under no"),
        ("IMGID:1\nAda\tO\n\nx\tO\n", 4, "stands under no"),
        ("IMGID:1\n\n", 1, "without tokens"),
        ("IMGID:1\nIMGID:2\na\tO\n", 1, "without tokens"),
        ("IMGID:../../etc/x\na\tO\n", 1, "no file name"),
        ("IMGID:a/b\na\tO\n", 1, "no file name"),
        ("IMGID:a\\b\na\tO\n", 1, "no file name"),
        ("IMGID:..\na\tO\n", 1, "no file name"),
        ("IMGID:\na\tO\n", 1, "no file name"),
        ("IMGID:C:x\na\tO\n", 1, "no file name"),
    ],
)
def test_a_malformed_line_is_named(root, text, line, fact):
    with pytest.raises(DataError, match=rf"train\.txt:{line}: .*{fact}"):
        rewrite(root, text)


def test_a_file_that_is_not_utf8(root):
    with pytest.raises(DataError, match=r"train\.txt: not UTF-8"):
        rewrite(root, b"IMGID:1\n\xff\tO\n")


BOMB = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<annotation>",
        BOMB,
        OUTSIDE,
        xml(("", (1, 2, 3, 4))),
        xml(("Al", (1, 2, 3, "x"))),
        xml(("Al", (9, 2, 3, 4))),
        xml(("Al", (1, 2, 3, "nan"))),
        "<a><object><name>Al</name></object></a>",
    ],
)
def test_a_malformed_xml_file_is_named(root, content):
    (root / "xml" / "7.xml").write_text(content)
    with pytest.raises(DataError, match=r"7\.xml"):
        read_twitter_gmner(root, "train")


def test_numbers_of_the_annotation_are_kept(tmp_path):
    (tmp_path / "a.xml").write_text(xml(("Al", (1, 2.5, 500, 706))))
    assert read_boxes(tmp_path / "a.xml") == [("Al", Box(1.0, 2.5, 500.0, 706.0))]
    assert read_boxes(tmp_path / "none.xml") == []


def test_an_unknown_split_names_those_that_exist(root):
    with pytest.raises(InputError, match=r"received 'test'. accepted: train"):
        read_twitter_gmner(root, "test")
    (root / "txt" / "test.txt").write_text(TWEET)
    assert len(read_twitter_gmner(root, "test")) == 1
    for split in ("../txt/train", "", "train.txt"):
        with pytest.raises(InputError):
            read_twitter_gmner(root, split)
    with pytest.raises(InputError, match="missing or empty"):
        read_twitter_gmner(root / "nowhere", "train")


@pytest.mark.parametrize("folder", ["images", "twitter10000"])
def test_pictures_are_found_under_the_root(root, folder):
    (root / folder).mkdir()
    Image.new("RGB", (4, 4)).save(root / folder / "7.jpg")
    (post,) = read_twitter_gmner(root, "train")
    assert post.image == root / folder / "7.jpg"


def test_pictures_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("pictures")
    (elsewhere / "7.jpg").write_bytes(b"")
    assert read_twitter_gmner(root, "train", elsewhere)[0].image == elsewhere / "7.jpg"
    with pytest.raises(InputError, match="pictures does not exist"):
        read_twitter_gmner(root, "train", root / "nowhere")


PUBLISHED = {
    "train": (7000, 358, 11779, (5019, 1918, 3035, 1807), 4733, 5652, 421, 120, 59.82),
    "dev": (1500, 87, 2450, (1072, 407, 595, 376), 991, 1164, 85, 28, 59.55),
}


@pytest.fixture(scope="module", params=list(PUBLISHED))
def published(request, twitter_root):
    return read_twitter_gmner(twitter_root, request.param), PUBLISHED[request.param]


def test_the_published_counts(published):
    posts, (tweets, empty, mentions, types, shown, boxes, several, adjacent, _) = published
    gold = [entity for post in posts for entity in post.gold]
    assert (len(posts), sum(not post.gold for post in posts), len(gold)) == (tweets, empty, mentions)
    counts = Counter(entity.type for entity in gold)
    assert tuple(counts[name] for name in ("PER", "LOC", "ORG", "OTHER")) == types
    assert sum(entity.visible for entity in gold) == shown
    assert len({(post.id, e.span, box) for post in posts for e in post.gold for box in e.boxes}) == boxes
    assert sum(len(entity.boxes) > 1 for entity in gold) == several
    pairs = [pair for post in posts for pair in zip(post.gold, post.gold[1:], strict=False)]
    assert sum(first.end + 1 == second.start for first, second in pairs) == adjacent


def test_every_gold_span_can_be_written_by_an_answer(published):
    posts, _ = published
    assert all(entity.key in occurrences(entity.span, post.text) for post in posts for entity in post.gold)


def test_always_not_shown_scores_as_published(published):
    posts, (*_, f1) = published
    answers = [
        Prediction(p.id, p.text, "", tuple(GroundedEntity(e.span, e.start, e.end, e.type) for e in p.gold))
        for p in posts
    ]
    scores = evaluate(answers, posts)
    assert (round(scores.gmner.f1, 2), scores.mner.f1, round(scores.eeg.f1, 2)) == (f1, 100.0, f1)
