"""Oddities found by readers: the list, its report, and the log."""

import copy
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmner.data.oddities import Oddity, OddityLog, Posts
from gmner.data.post import Post
from gmner.data.readers.labels import labels_of
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity


def named(*types):
    return Post("1", "x" * 9, entities=tuple(GoldEntity("x", 0, 1, kind) for kind in types))


def test_types_are_sorted_by_frequency_then_name():
    posts = [named("b", "c"), named(), Post("2", "x"), named("c", "a", "Z")]
    assert labels_of(posts).types == (("c", ""), ("Z", ""), ("a", ""), ("b", ""))
    with pytest.raises(InputError, match="label set"):
        labels_of([named()])


def test_known_types_keep_their_descriptions():
    labels = labels_of([named("PER", "band", "OTHER")])
    assert dict(labels.types) == {"PER": dict(COARSE.types)["PER"], "OTHER": dict(COARSE.types)["OTHER"], "band": ""}


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_types_do_not_depend_on_the_order_of_posts(types):
    assert labels_of([named(*types)]) == labels_of(map(named, reversed(types)))


def test_posts_list_has_oddities():
    oddity = Oddity("missing_image", "f:1", "none")
    posts = Posts([named("a")], [oddity])
    assert posts == [named("a")]
    assert (posts.oddities, str(oddity)) == ((oddity,), "f:1: none")
    for again in (copy.copy(posts), copy.deepcopy(posts), pickle.loads(pickle.dumps(posts))):
        assert (again, again.oddities) == (posts, posts.oddities)
    assert Posts().report() == "0 posts, no oddities"


def test_report_counts_kinds_and_is_limited():
    oddities = [Oddity("b", f"f:{line}", "x") for line in range(5)] + [Oddity("a", "g:1", "y")]
    report = Posts([], oddities).report(each=2)
    assert report.splitlines() == ["0 posts, oddities: a 1, b 5", "f:0: x", "f:1: x", "... and 3 more of b", "g:1: y"]


def test_oddities_are_logged_individually_or_counted(caplog):
    findings = OddityLog()
    findings.add("loud", "f:1", "x")
    findings.add("quiet", "f:2", "y", quiet=True)
    findings.add("quiet", "f:3", "z", quiet=True)
    findings.add("low", "f:4", "w", level=logging.DEBUG)
    posts = findings.posts([named("a")])
    assert [record.getMessage() for record in caplog.records] == ["f:1: x", "quiet: 2 times; first: f:2: y"]
    assert [oddity.kind for oddity in posts.oddities] == ["loud", "quiet", "quiet", "low"]
