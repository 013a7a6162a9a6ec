"""The reader of Twitter-FMNERG: two columns of types for the tweets of Twitter-GMNER."""

from collections import Counter

import pytest
from tiers import daily

from gmner.data.readers.labels import labels_of
from gmner.data.readers.twitter import read_twitter_fmnerg, read_twitter_gmner
from gmner.signatures.errors import DataError, InputError

TWEET = "IMGID:7\nAda\tB-person\tB-author\nLace\tI-person\tI-author\nin\tO\tO\nOslo\tB-location\tB-city\n\n"
XML = (
    "<annotation><object><name>Oslo</name><bndbox>"
    "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def root(tmp_path):
    for folder in ("txt_fine", "xml", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "txt_fine" / "dev.txt").write_text(TWEET)
    (tmp_path / "xml" / "7.xml").write_text(XML)
    (tmp_path / "images" / "7.jpg").write_bytes(b"")
    return tmp_path


def rewrite(root, text, **options):
    (root / "txt_fine" / "dev.txt").write_text(text)
    return read_twitter_fmnerg(root, "dev", **options)


@pytest.mark.parametrize(("granularity", "types"), [("fine", ["author", "city"]), ("coarse", ["person", "location"])])
def test_types_of_either_column(root, granularity, types):
    posts = read_twitter_fmnerg(root, "dev", granularity=granularity)
    (post,) = posts
    assert [(e.span, e.type, len(e.boxes)) for e in post.gold] == [("Ada Lace", types[0], 0), ("Oslo", types[1], 1)]
    assert (post.image, posts.oddities) == (root / "images" / "7.jpg", ())
    assert set(labels_of(posts)) == set(types)


def test_three_columns_in_txt(root):
    expected = read_twitter_fmnerg(root, "dev")
    (root / "txt_fine").rename(root / "txt")
    assert read_twitter_fmnerg(root, "dev") == expected
    (root / "txt" / "dev.txt").write_text("IMGID:7\nAda\tB-PER\n")
    with pytest.raises(DataError, match=r"dev\.txt:2: expected a token and its tag"):
        read_twitter_fmnerg(root, "dev")


@pytest.mark.parametrize("granularity", ["fine", "coarse"])
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("I-person", "B-person", 2),
        ("I-author", "O", 2),
        ("B-location", "O", 5),
        ("in\tO\tO", "in\tO\tB-city", 4),
        ("in\tO\tO", "in\tO\tI-author", 2),
    ],
)
def test_columns_that_differ_in_a_mention_are_reported(root, old, new, line, granularity):
    posts = rewrite(root, TWEET.replace(old, new), granularity=granularity)
    found = [oddity for oddity in posts.oddities if oddity.kind == "bounds_differ"]
    assert [oddity.where for oddity in found] == [f"{root / 'txt_fine' / 'dev.txt'}:{line}"]


def test_stray_tag_counts_in_the_requested_column(root):
    text = TWEET.replace("B-city", "I-city")
    assert [oddity.kind for oddity in rewrite(root, text).oddities] == ["stray_inside_tag"]
    assert rewrite(root, text, granularity="coarse").oddities == ()


@pytest.mark.parametrize(
    "line", ["Ada\tB-person", "Ada\tB-person\tauthor", "Ada\tperson\tB-author", "Ada\tB-person\t", "Ada\t\tB-person"]
)
def test_invalid_line_is_reported(root, line):
    with pytest.raises(DataError, match=r"dev\.txt:2: expected a token and its tag.*O, B-X or I-X<TAB>O, B-X or I-X"):
        rewrite(root, f"IMGID:7\n{line}\n")


def test_arguments_are_checked(root):
    with pytest.raises(InputError, match="'fine' or 'coarse'"):
        read_twitter_fmnerg(root, "dev", granularity="medium")
    with pytest.raises(InputError, match="txt_fine has no such split"):
        read_twitter_fmnerg(root, "test")
    (root / "images" / "7.jpg").unlink()
    with pytest.raises(DataError, match="post 7 has no image"):
        read_twitter_fmnerg(root, "dev", missing_images="error")


PUBLISHED = {
    "train": (("person", 5019), ("organization", 3035), ("location", 1553), ("event", 614), ("art", 495)),
    "dev": (("person", 1072), ("organization", 595), ("location", 345), ("event", 126), ("art", 103)),
}


@pytest.mark.slow
@pytest.mark.parametrize("split", daily(PUBLISHED, "dev"))
def test_published_counts(twitter_root, split):
    if not (twitter_root / "txt_fine").is_dir():
        pytest.skip("the sample has no txt_fine/")
    coarse = read_twitter_fmnerg(twitter_root, split, granularity="coarse")
    counts = Counter(entity.type for post in coarse for entity in post.gold)
    assert tuple(counts.most_common(5)) == PUBLISHED[split]
    assert set(labels_of(coarse)) == {
        "person",
        "organization",
        "location",
        "event",
        "art",
        "building",
        "product",
        "other",
    }
    fine = read_twitter_fmnerg(twitter_root, split)
    assert len(labels_of(fine).names) == 51
    assert {oddity.kind for oddity in (*coarse.oddities, *fine.oddities)} == {"missing_image"}
    plain = read_twitter_gmner(twitter_root, split)
    keys = [[[(e.span, e.key, e.boxes) for e in post.gold] for post in posts] for posts in (coarse, fine, plain)]
    assert keys[0] == keys[1] == keys[2]
    assert [post.tokens for post in fine] == [post.tokens for post in plain]
