"""The Ray Data step on a local cluster with two workers."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from PIL import Image

from gmner.data.jsonl import read_predictions
from gmner.data.world.generate import World
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.ray_data import _Worker, answer_dataset
from gmner.signatures.errors import InputError

ray = pytest.importorskip("ray", reason="pip install ray[data]")
pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    ray.init(
        num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def program() -> GMNER:
    return GMNER(load_vlm(cache=False))


@pytest.mark.nightly
def test_two_workers_give_the_same_answers(cluster: None, program: GMNER, tmp_path: Path):
    posts = World().posts("dev", 4)
    rows = [{"id": "words", "text": "Nothing to see", "image": None}]
    rows += [{"id": "gone", "text": "Ana", "image": str(tmp_path / "none.png")}]
    for post in posts:
        post.image.save(tmp_path / f"{post.id}.png")
        rows.append({"id": post.id, "text": post.text, "image": str(tmp_path / f"{post.id}.png")})
    answered = answer_dataset(program, ray.data.from_items(rows).repartition(2), workers=2, batch=2)
    answered.write_json(str(tmp_path / "answers"))
    found = {answer.id: answer for file in (tmp_path / "answers").glob("*.json") for answer in read_predictions(file)}
    assert found.keys() == {row["id"] for row in rows}
    for expected in program.batch_posts(posts, progress=False):
        answer = found[expected.id]
        assert [(e.key, e.type, e.visible) for e in answer.entities] == [
            (e.key, e.type, e.visible) for e in expected.entities
        ]
        for mine, theirs in zip(answer.entities, expected.entities, strict=True):
            if mine.box is not None:
                assert mine.box.as_tuple() == pytest.approx(theirs.box.as_tuple())  # as pandas writes numbers
    assert [name for name, answer in found.items() if answer.error] == ["gone"]


def test_columns_do_not_depend_on_boxes_and_errors(program: GMNER):
    png = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(png, "PNG")
    sides = {"bytes": [png.getvalue(), b"no picture"], "none": [None, None]}
    tables = [
        _Worker(program)(pyarrow.table({"id": ["a", "b"], "text": ["Ana", "Bo"], "image": images}))
        for images in sides.values()
    ]
    assert tables[0].schema == tables[1].schema
    assert [error and error["kind"] for error in tables[0]["error"].to_pylist()] == [None, "bad_image"]
    assert tables[1]["error"].to_pylist() == [None, None]


def test_missing_column_is_reported(cluster: None, program: GMNER):
    with pytest.raises(InputError, match=r"column.*'id', 'text'"):
        answer_dataset(program, ray.data.from_items([{"id": "a", "text": "Ana"}]))
