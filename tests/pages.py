"""A parser that turns a page into tags and text, and small posts and predictions to display."""

from html.parser import HTMLParser

from PIL import Image

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'></style></title><svg onload=x>{{ 7*7 }}"


class Page(HTMLParser):
    """Tags, attributes and text of a page; styles and scripts do not count as text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1:] and self.tags[-1][0] not in ("style", "script"):
            self.text += data

    def count(self, tag, **attributes):
        return sum(name == tag and attributes.items() <= attrs.items() for name, attrs in self.tags)


def drawn(size=(64, 48)):
    return Image.new("RGB", size, (200, 10, 10))


def post_of(text="Ada met Al", image=None, **fields):
    gold = (GoldEntity(text[:3], 0, 3, "PER", (Box(1, 2, 30, 40), Box(2, 2, 9, 9))),)
    return Post(fields.pop("id", "1"), text, image, gold, **fields)


def answer_of(post, *entities, **fields):
    return Prediction(post.id, post.text, fields.pop("reasoning", ""), entities, **fields)
