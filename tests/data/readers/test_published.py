"""Published gold and answers of other systems, in small files of their forms."""

import json
import logging

import pytest
from command_line import fails, run
from PIL import Image

import gmner
from gmner.data.post import Post
from gmner.data.readers.placing import UNREADABLE
from gmner.data.scoring.gold_version import GoldVersion, compare_gold
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

GOLD_LINES = (
    "7.jpg###Ana Lim(PER)###a runner###2###&[1, 2, 30, 40]&[5.0, 2.0, 30.0, 40.0]",
    "7.jpg###Oslo (old)(LOC)###a ### city###0###&[0, 0, 0, 0]",
    "O_8.jpg###Ana(PER)###someone###0###&[0, 0, 0, 0]",
)
ANSWER_LINES = (
    "Imageid:7.jpg#ab12###Ana Lim(PER)###Ana Lim(PER)-A runner.###2",
    "Imageid:O_8.jpg#cd34###Ana(PER)###Ana(PER)-Someone.###2",
    "Imageid:9.jpg#ef56###Rome(LOC)###Rome(LOC)-A city.###0",
)


@pytest.fixture
def riveg(tmp_path):
    (tmp_path / "gold.txt").write_text("\n".join(GOLD_LINES) + "\n", encoding="utf-8")
    (tmp_path / "answers.txt").write_text("\n".join(ANSWER_LINES), encoding="utf-8")
    return tmp_path


def test_riveg_gold(riveg):
    first, second = gmner.read_dataset(riveg / "gold.txt")
    assert (first.id, first.text, second.id) == ("7", "Ana Lim | Oslo (old)", "O_8")
    ana, oslo = first.gold
    assert ana.boxes == (Box(1, 2, 30, 40), Box(5, 2, 30, 40))
    assert (oslo.span, oslo.type, oslo.boxes) == ("Oslo (old)", "LOC", ())
    assert first.text[oslo.start : oslo.end] == oslo.span


def test_riveg_counts_answers_to_posts_without_entities(riveg):
    posts = gmner.read_riveg(riveg / "gold.txt", answers=riveg / "answers.txt")
    scores = gmner.evaluate(gmner.read_answers(riveg / "answers.txt", posts), posts, "riveg")
    assert (scores.mner.correct, scores.mner.predicted, scores.mner.gold) == (2, 3, 3)
    assert scores.bias.grounded_absent == 1
    assert not scores.unknown


def test_riveg_verdicts_without_boxes_are_logged_and_boxes_are_read(riveg, caplog):
    posts = gmner.read_riveg(riveg / "gold.txt")
    with caplog.at_level(logging.WARNING):
        answers = gmner.read_answers(riveg / "answers.txt", posts)
    assert "2 answers are shown and have no box" in caplog.text
    assert answers[0].entities[0].box == UNREADABLE
    boxes = [{"uniq_id": "7.jpg#ab12", "box": [1, 2, 30, 41]}, {"uniq_id": "O_8.jpg#cd34", "box": [9, 9, 1, 1]}]
    (riveg / "refcoco_val_predict.json").write_text(json.dumps(boxes))
    beside = gmner.read_answers(riveg / "answers.txt", posts)
    assert [answer.entities[0].box for answer in beside[:2]] == [Box(1, 2, 30, 41), UNREADABLE]
    assert beside == gmner.read_riveg_answers(riveg / "answers.txt", posts, riveg / "refcoco_val_predict.json")
    assert gmner.evaluate(beside, posts, "riveg").gmner.correct == 1


def test_riveg_answers_find_tweets_by_image(riveg):
    (riveg / "7.jpg").touch()
    tweets = [Post("a", "So Ana Lim won", riveg / "7.jpg", ()), Post("empty", "nothing", None, ())]
    answers = gmner.read_riveg_answers(riveg / "answers.txt", tweets)
    assert {answer.id: [(e.span, e.start) for e in answer.entities] for answer in answers} == {
        "a": [("Ana Lim", 3)],
        "O_8": [("Ana", 0)],
        "9": [("Rome", 0)],
        "empty": [],
    }


@pytest.mark.parametrize("line", ["7.jpg###Ana###a runner###2###&[1, 2, 3, 4]", "Imageid:7.jpg#a###Ana(PER)", "x"])
def test_other_lines_are_refused(riveg, line):
    (riveg / "gold.txt").write_text(GOLD_LINES[0] + "\n" + line, encoding="utf-8")
    (riveg / "answers.txt").write_text(ANSWER_LINES[0] + "\n" + line, encoding="utf-8")
    with pytest.raises(DataError, match=r"gold\.txt:2: not a line of RiVEG"):
        gmner.read_riveg(riveg / "gold.txt")
    with pytest.raises(DataError, match=r"answers\.txt:2: not a line of RiVEG"):
        gmner.read_riveg_answers(riveg / "answers.txt", [Post("7", "Ana")])


def test_answers_to_other_posts_are_refused(riveg):
    with pytest.raises(DataError, match=r"no image belongs to one of the posts.*such as other"):
        gmner.read_riveg_answers(riveg / "answers.txt", [Post("other", "Ana")])
    with pytest.raises(InputError, match="File not found"):
        gmner.read_riveg(riveg / "none.txt")


@pytest.mark.parametrize("boxes", ["&[1, 2, x, 40]", "&[]", "&[30, 2, 1, 40]"])
def test_invalid_gold_boxes_of_riveg_are_refused(riveg, boxes):
    (riveg / "gold.txt").write_text(f"{GOLD_LINES[1]}\n7.jpg###Ana Lim(PER)###a runner###1###{boxes}")
    with pytest.raises(DataError, match=r"gold\.txt:2: invalid box"):
        gmner.read_riveg(riveg / "gold.txt")


def test_boxes_of_riveg_need_the_id_of_their_answer(riveg):
    (riveg / "refcoco_val_predict.json").write_text(json.dumps([{"box": [1, 2, 30, 41]}]))
    with pytest.raises(DataError, match="number 0: `uniq_id` must be a string"):
        gmner.read_riveg_answers(riveg / "answers.txt", gmner.read_riveg(riveg / "gold.txt"))


def test_answers_to_one_of_several_posts_with_an_image_are_refused(riveg):
    (riveg / "7.jpg").touch()
    posts = [Post(name, "Ana Lim", riveg / "7.jpg", ()) for name in "ab"]
    with pytest.raises(DataError, match="Several posts have the same image, such as a, b"):
        gmner.read_answers(riveg / "answers.txt", posts)
    assert gmner.read_answers(riveg / "answers.txt", [*posts, Post("7", "Ana Lim")])[0].id == "7"


def test_answers_to_two_images_of_one_post_are_refused(riveg):
    (riveg / "7.jpg").touch()
    (riveg / "answers.txt").write_text("Imageid:7.jpg#a###Ana(PER)###x###0\nImageid:a.jpg#b###Bo(PER)###x###0")
    with pytest.raises(DataError, match="two images belong to post a"):
        gmner.read_answers(riveg / "answers.txt", [Post("a", "Ana Bo", riveg / "7.jpg")])


def test_riveg_lines_need_a_name(riveg):
    (riveg / "gold.txt").write_text("1.jpg### (PER)###d###0###&[0,0,0,0]")
    with pytest.raises(DataError, match=r"gold\.txt:1: not a line of RiVEG"):
        gmner.read_riveg(riveg / "gold.txt")


def test_ids_with_dots_are_not_shortened(riveg):
    (riveg / "answers.txt").write_text("\n".join(f"Imageid:16.0{n}#a###Ana(PER)###x###0" for n in (5, 6)))
    posts = [Post("16.05", "Ana"), Post("16.06", "Ana")]
    assert [len(answer.entities) for answer in gmner.read_answers(riveg / "answers.txt", posts)] == [1, 1]


def test_gold_is_refused_as_predictions(riveg, entity_json):
    for path in (riveg / "gold.txt", entity_json):
        with pytest.raises(DataError, match=f"{path.name}: gold annotations, not predictions"):
            gmner.read_answers(path, [Post("7", "Ana")])


TOKENS = ["Ana", "Lim", "meets", "Bo", "in", "Oslo"]
ROWS = (
    {"start": 0, "end": 1, "entity_type": "PER", "phrase": "Ana Lim", "region_box": [1, 2, 30, 40]},
    {"start": 0, "end": 1, "entity_type": "PER", "phrase": "Ana Lim", "region_box": [3, 2, 30, 40]},
    {"start": 0, "end": 1, "entity_type": "PER", "phrase": "Ana Lim", "region_box": [3, 2, 30, 40]},
    {"start": 5, "end": 5, "entity_type": "city", "entity_coarse_type": "LOC", "phrase": "Bergen", "region_box": []},
)


@pytest.fixture
def entity_json(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "images" / "7.jpg")
    gold = [{"tokens": TOKENS, "img_id": "7.jpg", "gt_entities": ROWS}]
    (tmp_path / "gt.json").write_text(json.dumps(gold))
    return tmp_path / "gt.json"


def test_entity_json(entity_json):
    posts = gmner.read_dataset(entity_json)
    (post,) = posts
    assert (post.id, post.text, post.tokens) == ("7", " ".join(TOKENS), tuple(TOKENS))
    assert post.image == entity_json.parent / "images" / "7.jpg"
    ana, oslo = post.gold
    assert (ana.span, ana.boxes) == ("Ana Lim", (Box(1, 2, 30, 40), Box(3, 2, 30, 40)))
    assert (oslo.span, oslo.start, oslo.end, oslo.type) == ("Oslo", 20, 24, "city")
    assert [oddity.kind for oddity in posts.oddities] == ["other_phrase"]
    (tight,) = gmner.read_dataset(entity_json, joiner="")
    assert tight.gold[1].span == "Oslo"
    assert tight.text == "".join(TOKENS)


def test_coarse_types_of_entity_json(entity_json):
    rows = [{**row, "entity_coarse_type": "X"} for row in ROWS[:1]]
    entity_json.write_text(json.dumps([{"tokens": TOKENS, "image_id": "7.jpg", "gt_entities": rows}]))
    (post,) = gmner.read_dataset(entity_json, format="entity-json-coarse")
    assert post.gold[0].type == "X"


def test_entity_json_answers(entity_json):
    posts = gmner.read_dataset(entity_json)
    regions = [[1, 2, 30, 40], [0, 0, 9, 9]]
    rows = [
        {"phrase": "Ana Lim", "entity_type": "PER", "region_box": [1, 2, 30, 39]},
        {"start": 3, "end": 3, "entity_type": "PER", "mapping_regions": regions, "region": 2},
        {"start": 5, "end": 5, "entity_type": "city", "mapping_regions": regions, "region": 0},
        {"phrase": "Rome", "entity_type": "city", "region_box": "no box"},
        {"phrase": "Lima", "entity_type": "city", "region_box": [0, 0, 1, 10**400]},
    ]
    path = entity_json.parent / "answers.json"
    path.write_text(json.dumps([{"img_id": "7.jpg", "pre_entities": rows}]))
    (answer,) = gmner.read_answers(path, posts)
    assert [(e.span, e.start, e.box) for e in answer.entities] == [
        ("Ana Lim", 0, Box(1, 2, 30, 39)),
        ("Bo", 14, Box(0, 0, 9, 9)),
        ("Oslo", 20, None),
        ("Rome", -1, UNREADABLE),
        ("Lima", -1, UNREADABLE),
    ]
    assert answer.entities[3].alignment is Alignment.MISSING
    assert gmner.evaluate([answer], posts, "sake").gmner.correct == 2
    without = [Post("7", posts[0].text, None, posts[0].gold)]
    with pytest.raises(DataError, match="post 7 has no tokens"):
        gmner.read_answers(path, without)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"start": 5, "end": 6}, "no tokens 5 to 6.*0 to 5"),
        ({"start": True}, "`start` must be an integer"),
        ({"entity_type": 3}, "`entity_type` must be a string"),
    ],
)
def test_malformed_rows_of_entity_json(entity_json, change, fact):
    gold = [{"tokens": TOKENS, "img_id": "7.jpg", "gt_entities": [{**ROWS[0], **change}]}]
    entity_json.write_text(json.dumps(gold))
    with pytest.raises(DataError, match=rf"gt\.json: record 0: {fact}"):
        gmner.read_entity_json(entity_json)


@pytest.mark.parametrize("region", [[5, 2, 1, 9], [1, 2, 3], "none", [1, 2, None, 4]])
def test_invalid_gold_boxes_of_entity_json_are_refused(entity_json, region):
    gold = [{"tokens": TOKENS, "img_id": "7.jpg", "gt_entities": [{**ROWS[0], "region_box": region}]}]
    entity_json.write_text(json.dumps(gold))
    with pytest.raises(DataError, match=r"gt\.json: record 0: invalid box"):
        gmner.read_entity_json(entity_json)


def test_token_indices_tell_equal_phrases_apart(entity_json):
    entity_json.write_text(json.dumps([{"tokens": ["Ana", "met", "Ana"], "img_id": "7.jpg", "gt_entities": []}]))
    rows = [{"phrase": "Ana", "start": at, "end": at, "entity_type": "PER", "region_box": []} for at in (2, 9)]
    path = entity_json.parent / "answers.json"
    path.write_text(json.dumps([{"img_id": "7.jpg", "pre_entities": rows}]))
    (answer,) = gmner.read_answers(path, gmner.read_entity_json(entity_json))
    assert [entity.start for entity in answer.entities] == [8, 0]


@pytest.mark.parametrize("joiner", ["", " ", "  "])
def test_token_indices_of_answers_follow_the_joiner(entity_json, joiner):
    posts, path = gmner.read_entity_json(entity_json, joiner=joiner), entity_json.parent / "answers.json"
    rows = [{"start": 3, "end": 3, "entity_type": "PER"}]
    path.write_text(json.dumps([{"img_id": "7.jpg", "pre_entities": rows}]))
    assert gmner.read_answers(path, posts)[0].entities[0].span == "Bo"


def test_json_lines_with_the_suffix_json_are_posts(tmp_path):
    record = {"id": "1", "text": "Ana", "image": None, "entities": []}
    (tmp_path / "posts.json").write_text(f"{json.dumps(record)}\n{json.dumps({**record, 'id': '2'})}\n")
    assert [post.id for post in gmner.read_dataset(tmp_path / "posts.json")] == ["1", "2"]


def test_json_lists_without_entities_are_refused(entity_json):
    path = entity_json.parent / "answers.json"
    path.write_text(json.dumps([{"img_id": "7.jpg", "pred_entities": []}], indent=1))
    with pytest.raises(DataError, match="a JSON list whose records have no `pre_entities`"):
        gmner.read_answers(path, gmner.read_dataset(entity_json))


def test_malformed_answers_of_entity_json(entity_json):
    posts, path = gmner.read_dataset(entity_json), entity_json.parent / "answers.json"
    bo = {"phrase": "Bo", "entity_type": "PER"}
    for record, fact in (
        ({"img_id": "8.jpg", "pre_entities": []}, "the image is of no post"),
        ({"img_id": 8, "pre_entities": []}, "`img_id` must be the name"),
        ({"img_id": "7.jpg", "pre_entities": [{"phrase": "Bo"}]}, "`entity_type` must be a string"),
        ({"img_id": "7.jpg", "pre_entities": [{"phrase": None, "entity_type": "PER"}]}, "`phrase` must be a string"),
        ({"img_id": "7.jpg", "pre_entities": [{**bo, "mapping_regions": [], "region": 1}]}, "no such region"),
    ):
        path.write_text(json.dumps([record]))
        with pytest.raises(DataError, match=fact):
            gmner.read_answers(path, posts)
    path.write_text(json.dumps([{"img_id": "7.jpg", "pre_entities": []}] * 2))
    with pytest.raises(DataError, match="record 1: an earlier record has the same image"):
        gmner.read_answers(path, posts)


@pytest.fixture
def ccks(tmp_path):
    bounds = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in ((1, 2, 30, 40), (5, 5, 9, 9))]
    rows = [
        {"name": "豹2", "label": "vehicle", "bnd": bounds[0]},
        {"name": "豹2", "label": "vehicle", "bnd": bounds[1]},
        {"name": "柏林", "label": "location", "bnd": None},
        {"name": "虎式", "label": "vehicle", "bnd": None},
    ]
    (tmp_path / "sample_text.json").write_text(json.dumps({"4": {"text": "豹2坦克在柏林"}, "5": {"text": "无"}}))
    (tmp_path / "sample_entity.json").write_text(json.dumps({"4": rows}))
    (tmp_path / "sample_image").mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "sample_image" / "4.png")
    return tmp_path


def test_ccks(ccks):
    posts = gmner.read_dataset(ccks)
    first, second = posts
    assert [(e.span, e.start, len(e.boxes)) for e in first.gold] == [("豹2", 0, 2), ("柏林", 5, 0)]
    assert (first.image, second.image, second.entities) == (ccks / "sample_image" / "4.png", None, ())
    assert {oddity.kind for oddity in posts.oddities} == {"name_not_in_text", "missing_image"}
    (ccks / "Evaluation_text.json").write_text(json.dumps({"6": {"text": "柏林"}}))
    assert gmner.read_dataset(ccks, "Evaluation")[0].entities is None
    with pytest.raises(InputError, match=r"no such split.*Evaluation, sample"):
        gmner.read_ccks(ccks, "dev")


def test_ccks_answers(ccks):
    posts = gmner.read_ccks(ccks)
    path = ccks / "result.json"
    rows = [{"name": "柏林", "label": "location", "bnd": None}, {"name": "豹2", "label": "vehicle", "bnd": {"xmin": 1}}]
    path.write_text(json.dumps({"4": rows, "99": []}))
    first, unknown = gmner.read_answers(path, posts)
    assert [(e.span, e.box) for e in first.entities] == [("柏林", None), ("豹2", UNREADABLE)]
    assert gmner.evaluate([first, unknown], posts).unknown == ("99",)
    for value, fact in (({"99": []}, "no key is the id of a post"), ({"4": [{"name": "柏林"}]}, "must be strings")):
        path.write_text(json.dumps(value))
        with pytest.raises(DataError, match=fact):
            gmner.read_answers(path, posts)


def test_names_of_ccks_are_located_in_any_order(ccks):
    (ccks / "sample_text.json").write_text(json.dumps({"4": {"text": "北京大学在北京"}}))
    rows = [{"name": "北京大学", "label": "ORG", "bnd": None}, {"name": "北京", "label": "LOC", "bnd": None}]
    (ccks / "sample_entity.json").write_text(json.dumps({"4": rows, "99": rows}))
    path = ccks / "result.json"
    path.write_text(json.dumps({"4": rows[::-1]}))
    posts = gmner.read_ccks(ccks)
    (answer,) = gmner.read_answers(path, posts)
    assert [(e.span, e.start) for e in posts[0].gold] == [("北京大学", 0), ("北京", 5)]
    assert [(e.span, e.start) for e in answer.entities] == [("北京", 5), ("北京大学", 0)]
    path.write_text(json.dumps({"4": rows[1:]}))  # without the longer name
    answers = gmner.read_answers(path, posts)
    assert gmner.evaluate(answers, posts).mner.correct == 1
    assert [oddity.where[-3:] for oddity in posts.oddities if oddity.kind == "unknown_post"] == [" 99"]


def test_malformed_boxes_of_ccks_gold(ccks):
    (ccks / "sample_entity.json").write_text(json.dumps({"4": [{"name": "柏林", "label": "L", "bnd": [1, 2]}]}))
    with pytest.raises(DataError, match="4: invalid box of '柏林'"):
        gmner.read_ccks(ccks)


# Versions of the gold


def gold(*entities, id_="7"):
    return Post(id_, "text", None, tuple(GoldEntity(span, 0, 1, kind, boxes) for span, kind, boxes in entities))


A, B = (Box(1, 2, 3, 4),), (Box(1, 2, 3, 5),)


def test_version_depends_on_ids_names_types_and_boxes_alone():
    posts = [gold(("Ana", "PER", A), ("Bo", "PER", ())), gold(("Cy", "ORG", ()), id_="8"), gold(id_="9")]
    version = GoldVersion.of(posts)
    assert (version.posts, version.mentions, version.shown, version.absent) == (3, 3, 1, 2)
    assert GoldVersion.of(posts[::-1]) == version
    for other in (("Ana", "ORG", A), ("Ana", "PER", B), ("Anna", "PER", A)):
        assert GoldVersion.of([gold(other, ("Bo", "PER", ())), *posts[1:]]).fingerprint != version.fingerprint
    assert GoldVersion.of([gold(("Ana", "PER", A))]) != GoldVersion.of([gold(("Ana", "PER", A), id_="8")])
    unboxed = [Post("7", "text", None, (GoldEntity("Ana", 0, 1, "PER"),), grounded=False)]
    assert (GoldVersion.of(unboxed).shown, "no regions" in str(GoldVersion.of(unboxed))) == (None, True)


def test_differences_of_gold():
    ours = [gold(("Ana", "PER", A), ("Bo", "MISC", A), ("Bo", "MISC", ()), ("Cy", "PER", A), ("Di", "PER", A))]
    theirs = [gold(("Ana", "PER", A), ("Bo", "OTHER", A), ("Cy", "PER", B), ("Di", "PER", ()), ("Ed", "PER", ()))]
    found = compare_gold(ours, theirs)
    assert (found.only_ours, found.only_theirs) == ((("7", "Bo", "OTHER"),), (("7", "Ed", "PER"),))
    assert (found.boxes, found.shown_ours, found.shown_theirs) == ((("7", "Cy", "PER"),), (("7", "Di", "PER"),), ())
    assert found.types == (("MISC",), ("OTHER",))
    assert bool(found)
    assert "types that only the first has: MISC" in str(found)
    assert not compare_gold(ours, ours)
    assert str(compare_gold(ours, ours)) == "no differences"


def test_two_posts_of_the_second_gold_for_one_of_the_first_are_refused(tmp_path):
    (tmp_path / "7.jpg").touch()
    twice = [Post(id_, "text", tmp_path / "7.jpg", ()) for id_ in "ab"]
    with pytest.raises(DataError, match=r"Several posts of the second gold belong to one of the first.*7"):
        compare_gold([Post("7", "text", tmp_path / "7.jpg", ())], twice)


def test_gold_equals_itself_whatever_joins_its_tokens(entity_json, capsys):
    answers = entity_json.parent / "answers.json"
    answers.write_text(json.dumps([{"img_id": "7.jpg", "pre_entities": []}]))
    words = "evaluate", answers, "--gold", entity_json, "--joiner", ""
    assert run(*words, "--made-on", entity_json) == 0
    assert "other gold" not in "".join(capsys.readouterr())


def test_evaluate_prints_the_version_and_names_other_gold(riveg, capsys):
    gold_file, other = riveg / "gold.txt", riveg / "other.txt"
    other.write_text("\n".join([GOLD_LINES[0].replace("###2###", "###0###"), *GOLD_LINES[1:]]), encoding="utf-8")
    words = "evaluate", riveg / "answers.txt", "--gold", gold_file, "--protocol", "riveg"
    assert run(*words, "--made-on", other) == 0
    printed = capsys.readouterr()
    assert f"gold  {GoldVersion.of(gmner.read_riveg(gold_file))}" in printed.out
    assert "made on other gold" in printed.err
    assert "1 are shown only by the first (such as 'Ana Lim' (PER) of post 7)" in printed.err
    assert run(*words, "--made-on", gold_file, "--json") == 0
    printed = capsys.readouterr()
    assert "made on" not in printed.err
    assert json.loads(printed.out)["gold"]["absent"] == 2
    assert "File or folder not found" in fails(capsys, *words, "--made-on", riveg / "none.txt")


def test_gold_is_matched_by_images_and_mentions_of_one_name_by_boxes(tmp_path):
    (tmp_path / "7.jpg").touch()
    ours = [gold(("Bo", "PER", A), ("Bo", "PER", B))]
    theirs = [Post("tweet", "text", tmp_path / "7.jpg", gold(("Bo", "PER", B), ("Bo", "PER", A)).entities)]
    assert not compare_gold(ours, theirs)
    assert not compare_gold(theirs, ours)
    fewer = compare_gold(ours, [gold(("Bo", "PER", B))])
    assert (len(fewer.only_ours), fewer.boxes) == (1, ())
