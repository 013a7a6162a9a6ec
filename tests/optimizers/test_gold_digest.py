"""The digest of gold annotations that run directories store."""

from gmner.data.post import Post
from gmner.optimizers.gold_digest import gold_digest
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity


def test_digest_of_unrounded_boxes_is_that_of_earlier_versions():
    boxes = (Box(217.60000000000002, 1, 300.0, 3.5), Box(1 / 3, 0, 2, 2))
    entities = (GoldEntity("Ana", 0, 3, "PER", boxes), GoldEntity("Bo", 8, 10, "ORG"))
    posts = [Post("a", "Ana and Bo", None, entities), Post("b", 'It\'s "x"\n', None, ())]
    assert gold_digest(posts) == "d7fe2ca2fa09"
