"""The reader of Twitter-GMNER: the published counts, and malformed files."""

import os
from collections import Counter

import pytest
from PIL import Image

from gmner.data.oddities import Oddity, OddityLog
from gmner.data.prediction import Prediction
from gmner.data.readers.choose import read_dataset
from gmner.data.readers.conll import read_blocks
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.readers.voc import read_boxes
from gmner.data.scoring.evaluate import evaluate
from gmner.signatures.alignment import occurrences
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GroundedEntity

TWEET = "IMGID:7\nAda\tB-PER\nLace\tI-PER\nmet\tO\nAl\tB-PER\nOslo\tB-LOC\n\n"


def xml(*objects, size="<width>500</width>"):
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for name, b in objects
    )
    return f"<annotation><size>{size}</size>{items}</annotation>"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "txt").mkdir()
    (tmp_path / "xml").mkdir()
    (tmp_path / "txt" / "train.txt").write_text(TWEET, encoding="utf-8")
    (tmp_path / "xml" / "7.xml").write_text(xml(("Ada Lace", (1, 2, 30, 40)), ("Ada Lace", (5, 5, 9, 9))))
    return tmp_path


def odd(posts, *but):
    """(kind, location without folders) of every oddity except those of the kinds `but`."""
    return [(o.kind, o.where.rpartition(os.sep)[2]) for o in posts.oddities if o.kind not in (*but, "no_image_folder")]


def rewrite(root, text, split="train"):
    (root / "txt" / f"{split}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_twitter_gmner(root, split)


def test_tweet_example(root):
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
def test_line_ends_are_ignored(root, text):
    expected = read_twitter_gmner(root, "train")
    assert rewrite(root, text) == expected


def test_empty_file_is_an_empty_split(root):
    assert rewrite(root, "") == []


def test_tweets_need_no_blank_line_between_them(root):
    assert [post.id for post in rewrite(root, "IMGID:1\na\tO\nIMGID:2\nb\tO\n")] == ["1", "2"]


def test_unusual_characters_in_tokens(root):
    (post,) = rewrite(root, "IMGID:1\na\u2028b\tO\n\x85\x85x\tB-PER\n&amp\tO\n")
    assert post.tokens == ("a\u2028b", "\x85\x85x", "&amp")


def test_stray_inside_tags_are_reported(root, caplog):
    (post,) = rewrite(root, "IMGID:1\nAda\tI-PER\nLace\tI-PER\nOslo\tI-LOC\nx\tO\nAl\tI-PER\n")
    assert [(e.span, e.type) for e in post.gold] == [("Ada Lace", "PER"), ("Oslo", "LOC"), ("Al", "PER")]
    assert [record.getMessage().split("train.txt:")[1][:2] for record in caplog.records] == ["2:", "4:", "6:"]


def test_object_without_an_entity_is_reported(root, caplog):
    (root / "xml" / "7.xml").write_text(xml(("ada lace", (1, 2, 3, 4)), ("Al", (1, 2, 3, 4))))
    (post,) = read_twitter_gmner(root, "train")
    assert [entity.visible for entity in post.gold] == [False, True, False]
    assert "'ada lace'" in caplog.text


def test_mentions_with_equal_spans_share_boxes(root):
    (post,) = rewrite(root, "IMGID:7\nAda\tB-PER\nLace\tI-PER\nAda\tB-PER\nLace\tI-PER\n")
    first, second = post.gold
    assert first.boxes == second.boxes != ()
    assert (first.key, second.key) == ((0, 8), (9, 17))


def test_repeated_id_is_reported(root, caplog):
    posts = rewrite(root, TWEET * 3)
    assert [post.id for post in posts] == ["7", "7#2", "7#3"]
    assert posts[2].gold == posts[0].gold
    assert "7#2" in caplog.text


@pytest.mark.parametrize(
    ("text", "line", "fact"),
    [
        ("IMGID:1\nAda B-PER\n", 2, "expected a token and its tag"),
        ("IMGID:1\nAda\tO\nx\tPER\n", 3, "expected a token and its tag"),
        ("IMGID:1\nAda\tB-\n", 2, "expected a token and its tag"),
        ("IMGID:1\n\tO\n", 2, "expected a token and its tag"),
        ("Ada\tO\n", 1, "has no .IMGID"),
        ("IMGID:1\nAda\tO\n\nx\tO\n", 4, "has no .IMGID"),
        ("IMGID:1\n\n", 1, "has no tokens"),
        ("IMGID:1\nIMGID:2\na\tO\n", 1, "has no tokens"),
        ("IMGID:../../etc/x\na\tO\n", 1, "not a valid file name"),
        ("IMGID:a/b\na\tO\n", 1, "not a valid file name"),
        ("IMGID:a\\b\na\tO\n", 1, "not a valid file name"),
        ("IMGID:..\na\tO\n", 1, "not a valid file name"),
        ("IMGID:\na\tO\n", 1, "not a valid file name"),
        ("IMGID:C:x\na\tO\n", 1, "not a valid file name"),
    ],
)
def test_malformed_line_is_reported(root, text, line, fact):
    with pytest.raises(DataError, match=rf"train\.txt:{line}: .*{fact}"):
        rewrite(root, text)


def test_file_that_is_not_utf8(root):
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
def test_malformed_xml_file_is_reported(root, content):
    (root / "xml" / "7.xml").write_text(content)
    with pytest.raises(DataError, match=r"7\.xml"):
        read_twitter_gmner(root, "train")


def test_coordinates_are_kept_unchanged(tmp_path):
    (tmp_path / "a.xml").write_text(xml(("Al", (1, 2.5, 500, 706))))
    assert read_boxes(tmp_path / "a.xml") == [("Al", Box(1.0, 2.5, 500.0, 706.0))]
    assert read_boxes(tmp_path / "none.xml") == []


def test_unknown_split_error_lists_existing_splits(root):
    with pytest.raises(InputError, match=r"got 'test'\). Accepted: train"):
        read_twitter_gmner(root, "test")
    (root / "txt" / "test.txt").write_text(TWEET)
    assert len(read_twitter_gmner(root, "test")) == 1
    for split in ("../txt/train", "", "train.txt"):
        with pytest.raises(InputError):
            read_twitter_gmner(root, split)
    with pytest.raises(InputError, match="missing or empty"):
        read_twitter_gmner(root / "nowhere", "train")


@pytest.mark.parametrize("folder", ["images", "twitter10000"])
def test_images_under_the_root(root, folder):
    (root / folder).mkdir()
    Image.new("RGB", (4, 4)).save(root / folder / "7.jpg")
    (post,) = read_twitter_gmner(root, "train")
    assert post.image == root / folder / "7.jpg"


def test_images_in_another_folder(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("pictures")
    (elsewhere / "7.jpg").write_bytes(b"")
    assert read_twitter_gmner(root, "train", elsewhere)[0].image == elsewhere / "7.jpg"
    with pytest.raises(InputError, match="image folder does not exist"):
        read_twitter_gmner(root, "train", root / "nowhere")


def test_oddities_have_their_location(root):
    (root / "xml" / "1.xml").write_text(xml(("ada  lace", (1, 2, 3, 4)), ("Bob", (1, 2, 3, 4))))
    posts = rewrite(root, "IMGID:1\nAda\tI-PER\nLace\tI-PER\n\nIMGID:1\nx\tO\n")
    assert odd(posts) == [
        ("stray_inside_tag", "train.txt:2"),
        ("white_space_in_name", "1.xml: object 'ada  lace'"),
        ("orphan_object", "1.xml: object 'Bob'"),
        ("orphan_object", "1.xml: object 'ada  lace'"),
        ("duplicate_id", "train.txt:6"),
    ]
    assert "differs from 'Ada Lace' in white space or case" in posts.report()
    assert posts.oddities[-1] == Oddity(
        "duplicate_id", f"{root / 'txt' / 'train.txt'}:6", "the id 1 occurs again and is read as 1#2"
    )


def test_object_of_the_second_tweet_with_an_id(root):
    posts = rewrite(root, "IMGID:7\nx\tO\n\n" + TWEET)
    assert [len(entity.boxes) for entity in posts[1].gold] == [2, 0, 0]
    assert odd(posts) == [("duplicate_id", "train.txt:5")]


def test_id_that_looks_like_a_repeated_one(root):
    posts = rewrite(root, "IMGID:1#2\nx\tO\n\nIMGID:1\nx\tO\n\nIMGID:1\nx\tO\n")
    assert [post.id for post in posts] == ["1#2", "1", "1#3"]


@pytest.mark.parametrize("name", [" Ada Lace", "Ada Lace ", "Ada  Lace", "Ada\tLace"])
def test_names_with_other_spacing_are_reported(root, name):
    (root / "xml" / "7.xml").write_text(xml((name, (1, 2, 3, 4))))
    posts = read_twitter_gmner(root, "train")
    assert not any(entity.visible for entity in posts[0].gold)
    assert [kind for kind, _ in odd(posts)] == ["white_space_in_name", "orphan_object"]


SIZE = "<width>30</width><height>40</height>"


@pytest.mark.parametrize(
    ("box", "size", "kinds"),
    [
        ((1, 1, 30, 40), SIZE, []),
        ((0, 0, 30, 40), SIZE, []),
        ((1, 1, 31, 40), SIZE, ["box_outside_image"]),
        ((1, 1, 30, 40.5), SIZE, ["box_outside_image"]),
        ((-1, 1, 30, 40), SIZE, ["box_outside_image"]),
        ((3, 1, 3, 9), SIZE, ["zero_area_box"]),
        ((33, 1, 33, 9), SIZE, ["box_outside_image", "zero_area_box"]),
        ((1, 1, 900, 900), "<width>0</width><height>0</height>", []),
        ((1, 1, 900, 900), "<width>x</width><height>nan</height>", []),
    ],
)
def test_box_outside_the_image_is_kept_and_reported(root, box, size, kinds):
    (root / "xml" / "7.xml").write_text(xml(("Al", box), size=size))
    posts = read_twitter_gmner(root, "train")
    assert posts[0].gold[1].boxes == (Box(*box),)
    assert odd(posts) == [(kind, "7.xml: object 'Al'") for kind in kinds]


def test_object_with_two_names(root):
    item = "<object><name>Al</name><name>Oslo</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"
    (root / "xml" / "7.xml").write_text(f"<annotation>{item}</bndbox></object></annotation>")
    (post,) = read_twitter_gmner(root, "train")
    assert [entity.boxes for entity in post.gold] == [(), (Box(1, 2, 3, 4),), (Box(1, 2, 3, 4),)]


@pytest.mark.parametrize(
    "line", ["Ada\t\tB-PER", "Ada \tB-PER", " Ada\tB-PER ", "Ada\t  B-PER\t", "Ada\t \tB-PER \t \t"]
)
def test_additional_spaces_and_tabs_are_reported(root, line):
    posts = rewrite(root, f"IMGID:1\n{line}\nx\tO\n")
    assert [(post.text, post.gold[0].span) for post in posts] == [("Ada x", "Ada")]
    assert odd(posts) == [("white_space", "train.txt:2")]


def test_token_of_other_whitespace_is_kept_and_reported(root):
    posts = rewrite(root, "IMGID:1\n\u3000\tB-PER\nAda\tI-PER\n\xa0\tI-PER\nx\tO\n\xa0\tB-LOC\n")
    (post,) = posts
    assert post.tokens == ("\u3000", "Ada", "\xa0", "x", "\xa0")
    assert [(e.span, e.key, post.text[e.start : e.end]) for e in post.gold] == [("Ada", (2, 5), "Ada")]
    assert odd(posts, "blank_token") == [("blank_mention", "train.txt:6")]
    assert odd(posts, "blank_mention") == [("blank_token", f"train.txt:{line}") for line in (2, 4, 6)]


def test_empty_file_and_missing_boxes_are_reported(root):
    assert odd(rewrite(root, "\n\n")) == [("empty_file", "train.txt")]
    (root / "xml" / "7.xml").unlink()
    posts = rewrite(root, TWEET)
    assert odd(posts) == [("no_boxes", "xml")]
    assert not any(entity.visible for entity in posts[0].gold)


def test_boxes_do_not_depend_on_oddities(tmp_path):
    (tmp_path / "a.xml").write_text(xml(("Al ", (1, 2, 1, 3))))
    findings = OddityLog()
    assert read_boxes(tmp_path / "a.xml", findings) == read_boxes(tmp_path / "a.xml") == [("Al ", Box(1, 2, 1, 3))]
    assert [oddity.kind for oddity in findings.oddities] == ["zero_area_box", "white_space_in_name"]


def test_unreadable_file_is_reported(root):
    with pytest.raises(DataError, match=r"txt: the file cannot be read"):
        list(read_blocks(root / "txt"))


def test_extreme_nesting(root):
    (root / "xml" / "7.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    (post,) = read_twitter_gmner(root, "train")
    assert not any(entity.visible for entity in post.gold)


@pytest.fixture
def outside(tmp_path_factory):
    """A folder next to the root with files that a link could point to."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "train.txt").write_text(TWEET)
    (folder / "7.xml").write_text(xml(("Al", (1, 2, 3, 4))))
    (folder / "7.jpg").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize("name", ["txt/train.txt", "xml/7.xml", "txt", "xml"])
def test_link_out_of_the_root_is_refused(root, outside, name):
    path = root / name
    path.rename(root / "kept")
    path.symlink_to(outside / name.rpartition("/")[2] if "." in name else outside)
    with pytest.raises(DataError, match="a link that leads outside") as caught:
        read_twitter_gmner(root, "train")
    assert str(path) in caught.value.fact


def test_link_inside_the_root_is_followed(root):
    (root / "kept").mkdir()
    for name in ("txt/train.txt", "xml/7.xml"):
        path = root / name
        path.rename(root / "kept" / path.name)
        path.symlink_to(root / "kept" / path.name)
    (post,) = read_twitter_gmner(root, "train")
    assert post.gold[0].visible


def test_circular_links_and_pipes_are_not_files(root):
    (root / "xml" / "8.xml").symlink_to(root / "xml" / "8.xml")
    os.mkfifo(root / "xml" / "9.xml")
    posts = rewrite(root, "IMGID:9\nAl\tB-PER\n")
    assert not posts[0].gold[0].visible
    with pytest.raises(DataError, match=r"8\.xml: a link that leads outside"):
        rewrite(root, "IMGID:8\nAl\tB-PER\n")


PUBLISHED = {
    "train": (7000, 358, 11779, (5019, 1918, 3035, 1807), 4733, 5652, 421, 120, 59.82),
    "dev": (1500, 87, 2450, (1072, 407, 595, 376), 991, 1164, 85, 28, 59.55),
}


@pytest.fixture(scope="module", params=list(PUBLISHED))
def published(request, twitter_root):
    return read_twitter_gmner(twitter_root, request.param), PUBLISHED[request.param]


def test_published_counts(published):
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


def test_second_version_has_no_oddities(published):
    posts, _ = published
    assert {oddity.kind for oddity in posts.oddities} == {"missing_image"}
    assert len(posts.oddities) == sum(post.image is None for post in posts)
    assert all(post.grounded and not post.more_images for post in posts)


def test_every_gold_span_can_be_predicted(published):
    posts, _ = published
    assert all(entity.key in occurrences(entity.span, post.text) for post in posts for entity in post.gold)


def test_score_of_always_not_shown_is_as_published(published):
    posts, (*_, f1) = published
    answers = [
        Prediction(p.id, p.text, "", tuple(GroundedEntity(e.span, e.start, e.end, e.type) for e in p.gold))
        for p in posts
    ]
    scores = evaluate(answers, posts)
    assert (round(scores.gmner.f1, 2), scores.mner.f1, round(scores.eeg.f1, 2)) == (f1, 100.0, f1)


def test_joiner_of_tokens_that_are_characters(root):
    (root / "xml" / "7.xml").write_text(xml(("勒布朗", (1, 2, 30, 40))), encoding="utf-8")
    lines = ["IMGID:7", "看\tO", "勒\tB-PER", "布\tI-PER", "朗\tI-PER", "在\tO", "东\tB-LOC", "京\tI-LOC", ""]
    (root / "txt" / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    (post,) = read_twitter_gmner(root, "train", joiner="")
    assert post.text == "看勒布朗在东京"
    assert [(e.span, e.start, e.end, len(e.boxes)) for e in post.gold] == [("勒布朗", 1, 4, 1), ("东京", 5, 7, 0)]
    assert all(entity.key in occurrences(entity.span, post.text) for entity in post.gold)


def test_joiner_of_a_dataset(root):
    (post,) = read_dataset(root, "train", joiner="")
    assert " " not in post.text
    (spaced,) = read_dataset(root, "train")
    assert " " in spaced.text
    assert spaced.text.replace(" ", "") == post.text


@pytest.mark.parametrize("option", ["joiner", "instances"])
def test_options_that_a_format_does_not_use_are_refused(root, option):
    (root / "posts.jsonl").write_text('{"id": "1", "text": "Ada"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=f"The format jsonl does not use {option}.*Leave {option} out"):
        read_dataset(root / "posts.jsonl", **{option: ""})


def test_joiner_must_be_white_space(root):
    with pytest.raises(InputError, match="joiner must be empty or white space"):
        read_twitter_gmner(root, "train", joiner="-")
