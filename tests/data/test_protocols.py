"""Protocols: examples for each, and properties of all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import answered, entities, perfect, posts

from gmner.data.readers.triples import UNREADABLE
from gmner.data.scoring.counting import with_free_none, without_adjacent
from gmner.data.scoring.pairing import TASKS, Scores
from gmner.data.scoring.protocols import PAPER, PROTOCOLS, find_protocol
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

WHOLE, HALF, AWAY = Box(0, 0, 10, 10), Box(0, 0, 10, 5), Box(50, 50, 60, 60)
TEXT = "Ada met Ada x Al Oslo"
RULES = ("paper", "riveg", "e2e-gmner", "sake", "mqspn", "h-index")
SCRIPTS = ("riveg-script", "sake-script", "mqspn-script")


def gold(start, end, type_="PER", *boxes):
    return GoldEntity(TEXT[start:end], start, end, type_, boxes)


def predicted_entity(start, end, type_="PER", box=None, *more):
    return GroundedEntity(TEXT[start:end], start, end, type_, box, more_boxes=more)


def counts(name, gold_, answer, types=None):
    found = PROTOCOLS[name](gold_, answer, types)
    return {task: (found[task].correct, found[task].predicted, found[task].gold) for task in TASKS}


def gmner(name, gold_, answer, types=None):
    return counts(name, gold_, answer, types)["gmner"]


def test_registered_protocols():
    assert tuple(PROTOCOLS) == RULES + SCRIPTS
    assert all(protocol.source and protocol.oddity for protocol in PROTOCOLS.values())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_iou_of_exactly_half(name):
    enough = name not in ("paper", "h-index")
    assert gmner(name, [gold(0, 3, "PER", WHOLE)], [predicted_entity(0, 3, "PER", HALF)])[0] == int(enough)
    assert gmner(name, [gold(0, 3, "PER", WHOLE)], [predicted_entity(0, 3, "PER", Box(0, 0, 10, 4.99))])[0] == 0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_not_shown_is_correct_only_without_a_box(name):
    assert counts(name, [gold(0, 3)], [predicted_entity(0, 3)]) == dict.fromkeys(TASKS, (1, 1, 1))
    missed = counts(name, [gold(0, 3, "PER", WHOLE)], [predicted_entity(0, 3)])
    assert (missed["gmner"][0], missed["mner"][0], missed["eeg"][0]) == (0, 1, 0)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_unreadable_box_is_wrong(name):
    for entity in (gold(0, 3), gold(0, 3, "PER", WHOLE)):
        right = gmner(name, [entity], [predicted_entity(0, 3, "PER", UNREADABLE)])[0]
        assert right == int(name in ("sake-script", "mqspn-script") and not entity.visible)


@pytest.mark.parametrize(
    ("name", "expected"),
    # "Ada" twice, not shown; the prediction is the other occurrence.
    [("paper", (0, 1, 2)), ("riveg", (1, 1, 2)), ("e2e-gmner", (1, 1, 2)), ("sake", (1, 1, 1)), ("mqspn", (0, 1, 2)),
     ("h-index", (0, 1, 2)), ("riveg-script", (1, 1, 2)), ("sake-script", (1, 1, 1)), ("mqspn-script", (0, 1, 2))],
)  # fmt: skip
def test_matching_by_offsets_or_by_words(name, expected):
    stray = GroundedEntity("Ada", 30, 33, "PER")
    assert gmner(name, [gold(0, 3), gold(8, 11)], [stray]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("paper", (1, 3, 1)), ("riveg", (1, 3, 1)), ("e2e-gmner", (1, 3, 1)), ("sake", (1, 1, 1)), ("mqspn", (1, 1, 1)),
     ("h-index", (1, 1, 1)), ("riveg-script", (3, 3, 1)), ("sake-script", (1, 1, 1)), ("mqspn-script", (1, 1, 1))],
)  # fmt: skip
def test_repeated_prediction(name, expected):
    assert gmner(name, [gold(0, 3)], [predicted_entity(0, 3)] * 3) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("paper", (1, 1, 1)), ("riveg", (1, 1, 1)), ("e2e-gmner", (1, 1, 1)), ("sake", (1, 1, 2)), ("mqspn", (1, 1, 2)),
     ("h-index", (1, 1, 1)), ("riveg-script", (1, 1, 1)), ("sake-script", (1, 1, 2)), ("mqspn-script", (1, 1, 2))],
)  # fmt: skip
def test_several_gold_boxes(name, expected):
    found = counts(name, [gold(0, 3, "PER", WHOLE, AWAY)], [predicted_entity(0, 3, "PER", AWAY)])
    assert found["gmner"] == found["eeg"] == expected
    assert found["mner"] == (1, 1, 1)


def test_sake_matches_one_of_two_equal_mentions():
    both, answer = (
        [gold(0, 3, "PER", WHOLE), gold(8, 11, "PER", WHOLE)],
        [predicted_entity(0, 3, "PER", WHOLE), predicted_entity(8, 11, "PER", WHOLE)],
    )
    assert gmner("sake", both, answer) == (1, 1, 2)
    assert gmner("mqspn", both, answer) == gmner("riveg", both, answer) == gmner("paper", both, answer) == (2, 2, 2)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_adjacent_mentions_are_merged_as_by_the_original_reader(name):
    neighbours = [gold(0, 3), gold(14, 16), gold(17, 21, "LOC")]
    answer = [predicted_entity(0, 3), predicted_entity(14, 16), predicted_entity(17, 21, "LOC")]
    lost = name.startswith(("sake", "mqspn"))
    assert gmner(name, neighbours, answer) == ((2, 3, 2) if lost else (3, 3, 3))


def test_chain_of_adjacent_mentions():
    chain = [
        GoldEntity("a", 0, 1, "X"),
        GoldEntity("b", 2, 3, "X"),
        GoldEntity("c", 4, 5, "X"),
        GoldEntity("d", 7, 8, "X"),
    ]
    assert [e.span for e in without_adjacent(chain[::-1])] == ["a", "c", "d"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_unknown_type_is_dropped_or_wrong(name):
    answer = [predicted_entity(0, 3), predicted_entity(8, 11, "ROBOT")]
    dropped = name.startswith("sake")
    assert gmner(name, [gold(0, 3)], answer, {"PER"}) == (1, 1 if dropped else 2, 1)
    assert gmner(name, [gold(0, 3)], answer)[1] == 2


def test_more_boxes_count_in_one_protocol():
    answer = [predicted_entity(0, 3, "PER", AWAY, WHOLE)]
    right = [name for name in PROTOCOLS if gmner(name, [gold(0, 3, "PER", WHOLE)], answer)[0]]
    assert right == ["e2e-gmner"]


def test_h_index_counts_the_last_of_two_predictions():
    right, wrong = predicted_entity(0, 3), predicted_entity(0, 3, "ORG")
    assert gmner("h-index", [gold(0, 3)], [wrong, right]) == (1, 1, 1)
    assert gmner("h-index", [gold(0, 3)], [right, wrong]) == (0, 1, 1)


def test_matching_is_optimal():
    # The first prediction matches both gold mentions, the second only the first one.
    twins = [gold(0, 3, "PER", WHOLE, AWAY), gold(8, 11, "PER", WHOLE)]
    answer = [predicted_entity(0, 3, "PER", WHOLE), predicted_entity(8, 11, "PER", AWAY)]
    assert gmner("riveg", twins, answer) == gmner("e2e-gmner", twins, answer) == (2, 2, 2)


@pytest.mark.parametrize("name", ["sake", "mqspn"])
def test_wrong_region_in_the_original_scripts(name):
    absent, boxed = [gold(0, 3)], [predicted_entity(0, 3, "PER", WHOLE)]
    assert gmner(name, absent, boxed) == (0, 1, 1)
    assert gmner(f"{name}-script", absent, boxed) == (1, 2, 1)
    shown, elsewhere = [gold(0, 3, "PER", WHOLE)], [predicted_entity(0, 3, "PER", AWAY)]
    assert gmner(f"{name}-script", shown, elsewhere) == (0, 2, 1)
    assert counts(f"{name}-script", absent, boxed)["mner"] == (1, 1, 1)
    assert with_free_none([("a", "PER", 0)], [("b", "PER", 1)]) == [("b", "PER", 1)]


def test_sake_skips_posts_with_an_empty_side():
    for gold_, answer in (([gold(0, 3)], []), ([], [predicted_entity(0, 3)])):
        found = counts("sake-script", gold_, answer)
        assert found["gmner"] == found["eeg"] == (0, 0, 0)
        assert found["mner"] == (0, len(answer), len(gold_))


@pytest.mark.parametrize("name", PROTOCOLS)
@given(posts())
def test_perfect_predictions_have_no_errors(name, post):
    protocol = PROTOCOLS[name]
    gold_ = protocol.kept(post.gold)
    rows_per_entity = name in ("paper", "riveg", "e2e-gmner", "h-index", "riveg-script")
    answer = [e for e in perfect(post).entities if e.key in {g.key for g in gold_}]
    single = all(len(g.boxes) < 2 for g in gold_) and len({g.span for g in gold_}) == len(gold_)
    for task, found in protocol(post.gold, answer).items():
        if rows_per_entity or single or task == "mner":
            assert Scores.of(found).f1 == 100, task
    assert {found.correct for found in protocol(post.gold, []).values()} == {0}


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "h-index"])
@given(answered(), st.randoms())
def test_order_of_entities_is_ignored(name, pair, random):
    post, answer = pair
    mixed = list(answer)
    random.shuffle(mixed)
    assert counts(name, post.gold, mixed) == counts(name, post.gold, answer)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@given(answered(), st.data())
def test_additional_wrong_entity_never_raises_a_score(name, pair, data):
    post, answer = pair
    words = {g.span for g in post.gold}
    wrong = data.draw(entities(post.text).filter(lambda e: e.span not in words))
    before, after = (PROTOCOLS[name](post.gold, found) for found in (answer, [*answer, wrong]))
    for task in TASKS:
        assert after[task].correct <= before[task].correct
        assert Scores.of(after[task]).f1 <= Scores.of(before[task]).f1


@pytest.mark.parametrize("name", RULES)
@given(answered())
def test_correct_never_exceeds_gold_or_predictions(name, pair):
    post, answer = pair
    for found in PROTOCOLS[name](post.gold, answer).values():
        assert 0 <= found.correct <= min(found.predicted, found.gold)


def test_unknown_protocol_error_lists_the_protocols():
    assert find_protocol("paper") is find_protocol(PAPER) is PAPER
    with pytest.raises(InputError, match=r"got 'papper'\). Accepted: paper, riveg, .*mqspn-script"):
        find_protocol("papper")


def invented(span, box=None):
    return GroundedEntity(span, -1, -1, "PER", box, Alignment.MISSING)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("names", [["Eve"], ["Eve", "Bob"], ["Eve", "Bob", "Zoe"]])
def test_each_invented_name_counts_as_a_prediction(name, names):
    found = counts(name, [gold(0, 3)], [predicted_entity(0, 3), *map(invented, names)])
    assert found == dict.fromkeys(TASKS, (1, 1 + len(names), 1))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_repeated_invented_name_counts_like_a_repeated_span(name):
    places = gmner(
        name,
        [gold(0, 3)],
        [
            predicted_entity(0, 3),
            predicted_entity(8, 11, "LOC"),
            predicted_entity(8, 11, "LOC"),
            predicted_entity(14, 16),
        ],
    )
    names = gmner(name, [gold(0, 3)], [predicted_entity(0, 3), invented("Eve"), invented("Eve"), invented("Bob")])
    assert names[1] == (3 if name in ("sake", "mqspn", "h-index", "sake-script", "mqspn-script") else 4)
    if not name.startswith(("sake", "riveg", "e2e")):  # by words, the second Ada of the text is the first
        assert names == places
