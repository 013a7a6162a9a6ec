"""Unusual boxes are reported with their location by every reader."""

import json
from pathlib import Path

import datasets
import pytest
from PIL import Image

from gmner.data.jsonl import read_posts
from gmner.data.oddities import OddityLog
from gmner.data.readers.box_checks import odd_box
from gmner.data.readers.voc import read_boxes
from gmner.data.table import from_dataset
from gmner.signatures.boxes import Box
from gmner.signatures.errors import GmnerError

ODD = [
    ([0, 0, 600, 400], ["box_outside_image"]),
    ([0.1, 0.1, 0.5, 0.5], ["relative_box"]),
    ([0.1, 0.1, 1.02, 0.9], ["relative_box"]),
    ([-0.02, 0.1, 1.4, 0.9], ["relative_box"]),
    ([0.1, 0.1, 1.6, 0.9], []),
    ([0, 0, 1, 1], ["relative_box"]),
    ([2, 2, 2, 2], ["zero_area_box"]),
    ([0, 0, 6, 4], []),
    ([-1, 0, 3, 3], ["box_outside_image"]),
]


@pytest.mark.parametrize(("box", "kinds"), ODD)
def test_unusual_boxes_in_lines_and_tables(tmp_path: Path, box: list[float], kinds: list[str]):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    entity = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": [box]}
    record = {"id": "1", "text": "Ana", "image": "a.png", "entities": [entity]}
    (tmp_path / "posts.jsonl").write_text(json.dumps(record) + "\n")
    lines, table = read_posts(tmp_path), from_dataset(datasets.Dataset.from_list([record]), tmp_path)
    for posts, where in ((lines, f"{tmp_path / 'posts.jsonl'}:1"), (table, "row 0")):
        assert [(oddity.kind, oddity.where) for oddity in posts.oddities] == [(kind, where) for kind in kinds]
        assert posts[0].gold[0].boxes == (Box(*box),)


def test_boxes_of_a_missing_image_are_kept(tmp_path: Path):
    entity = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": [[0, 0, 600, 400]]}
    record = {"id": "1", "text": "Ana", "image": "none.png", "entities": [entity]}
    (tmp_path / "posts.jsonl").write_text(json.dumps(record) + "\n")
    assert [oddity.kind for oddity in read_posts(tmp_path).oddities] == ["missing_image"]


BOX = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"


def boxes_of(tmp_path: Path, xml: str) -> tuple[list[tuple[str, float]], list[str]]:
    (tmp_path / "a.xml").write_text(xml)
    findings = OddityLog()
    return [(name, box.x1) for name, box in read_boxes(tmp_path / "a.xml", findings)], [
        o.kind for o in findings.oddities
    ]


def test_object_with_two_boxes_has_both(tmp_path: Path):
    xml = f"<annotation><object><name>Ana</name>{BOX.format(1)}{BOX.format(2)}</object></annotation>"
    assert boxes_of(tmp_path, xml) == ([("Ana", 1), ("Ana", 2)], [])


def test_xml_namespaces_are_ignored(tmp_path: Path):
    xml = f'<annotation xmlns="http://voc"><object><name>Ana</name>{BOX.format(1)}</object></annotation>'
    assert boxes_of(tmp_path, xml) == ([("Ana", 1)], [])


def test_nested_object_is_reported(tmp_path: Path):
    inner = f"<object><name>Bo</name>{BOX.format(2)}</object>"
    xml = f"<annotation><object><name>Ana</name>{BOX.format(1)}{inner}</object><group>{inner}</group></annotation>"
    assert boxes_of(tmp_path, xml) == ([("Ana", 1)], ["nested_object"])


def test_relative_coordinates_are_suspected_without_an_image():
    kinds = [[kind for kind, _ in odd_box(Box(0.1, 0.1, 1.02, 0.9), size)] for size in (None, (2, 2), (400, 300))]
    assert kinds == [["relative_box"], [], ["relative_box"]]
    assert list(odd_box(Box(1, 1, 9, 9), None)) == []


def test_error_for_a_width_and_height_box_explains_the_format(tmp_path: Path):
    entity = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": [[300, 200, 50, 40]]}
    record = {"id": "1", "text": "Ana", "image": None, "entities": [entity]}
    (tmp_path / "posts.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(GmnerError, match=r"reversed corners.*convert all of them to x, y, x \+ width"):
        read_posts(tmp_path)
    with pytest.raises(GmnerError) as caught:
        Box(5, 5, -5, -5)
    assert "width" not in str(caught.value)
