"""The rollouts of CVO: stored by step, read back, and shown on a page."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scripted import scripted_lm
from trl import GRPOTrainer

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.rewards import DEFAULT_WEIGHTS
from gmner.optimizers.run_page import render_run
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer, _with_image_counts, _without_empty_images
from gmner.optimizers.training.rollout_page import write_rollout_page
from gmner.optimizers.training.rollouts import Rollout, kept_rollouts, read_rollouts
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError
from gmner.signatures.wire import parse_answer

Programs = Callable[[str], GMNER]
SMALL = {"prompts": 2, "generations": 2, "max_completion_length": 400, "redraws": 0, "tuning": "full"}


def keep(folder: Path, step: int, post: Post, texts: list[str], rewards: list[float]) -> None:
    """Write rollouts as TRL does."""
    (folder / "completions").mkdir(parents=True, exist_ok=True)
    rows = {
        "step": [step] * len(texts),
        "completion": [[{"role": "assistant", "content": text}] for text in texts],
        "post": [post.id] * len(texts),
        "advantage": rewards,
        **{name: [float("nan") if name == "grounding" else value for value in rewards] for name in DEFAULT_WEIGHTS},
    }
    pq.write_table(pa.table(rows), folder / "completions" / f"completions_{step:05d}.parquet")


@pytest.mark.slow
def test_compile_keeps_rollouts_and_writes_a_page(program: Programs, posts: list[Post], tmp_path: Path):
    student = program("idefics3")
    student.compile(trainset=posts[:6], optimizer=MCR(mrsi=None, cvo=CVO(max_steps=3, **SMALL), progress=False),
                    run_dir=tmp_path)  # fmt: skip
    found = read_rollouts(tmp_path / "cvo")
    assert [rollout.step for rollout in found] == [1] * 4 + [2] * 4 + [3] * 4
    texts = {post.id: post.text for post in posts}
    for rollout in found:
        frame = student.adapter().request({"text": texts[rollout.post_id], "image": posts[0].image}).frame
        parse_answer(rollout.text, texts[rollout.post_id], student.labels, frame, reorder=True)
        assert rollout.rewards.keys() == DEFAULT_WEIGHTS.keys()
        assert all(value is None or 0 <= value <= 1 for value in rollout.rewards.values())
    for step in (1, 2, 3):
        assert len({rollout.post_id for rollout in found if rollout.step == step}) == 2
    page = (tmp_path / "cvo" / "rollouts.html").read_text(encoding="utf-8")
    assert "step 1" in page
    assert "answer 2" in page


def test_page_shows_first_and_last_steps_sorted_by_reward(posts: list[Post], tmp_path: Path):
    post = next(post for post in posts if post.gold)
    right = '{"reasoning":"well","entities":[]}'
    for step in range(1, 6):
        keep(tmp_path, step, post, ["not JSON", right], [-0.5, 0.5])
    rewards = read_rollouts(tmp_path)[0].rewards
    assert rewards["grounding"] is None
    assert rewards["span"] == -0.5
    page = write_rollout_page(tmp_path, {post.id: post}, GMNER(scripted_lm("")).adapter(), steps=1).read_text()
    assert "step 1" in page
    assert "step 5" in page
    assert "step 3" not in page
    assert page.index("grounding not rated") < page.index("not JSON")


def test_page_is_written_if_an_image_was_removed(tmp_path: Path):
    post = Post("7", "Ana", tmp_path / "none.png", ())
    keep(tmp_path, 1, post, ['{"reasoning":"well","entities":[]}'], [0.5])
    page = write_rollout_page(tmp_path, {post.id: post}, GMNER(scripted_lm("")).adapter()).read_text()
    assert "bad_image" in page


@pytest.mark.slow
def test_without_rollouts_there_is_no_page(program: Programs, posts: list[Post], tmp_path: Path):
    with pytest.raises(InputError, match="The folder has no rollouts"):
        read_rollouts(tmp_path)
    cvo = CVO(max_steps=1, **SMALL, grpo_options={"log_completions": False})
    optimizer = MCR(mrsi=None, cvo=cvo, progress=False)
    program("idefics3").compile(trainset=posts[:4], optimizer=optimizer, run_dir=tmp_path)
    assert not (tmp_path / "cvo" / "rollouts.html").exists()


def test_unfinished_table_is_skipped(posts: list[Post], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for step in (1, 2, 3):
        keep(tmp_path, step, posts[0], ["a", "b"], [-0.5, 0.5])
    files = kept_rollouts(tmp_path)
    files[1].write_bytes(b"")
    files[2].write_bytes(files[0].read_bytes()[:-20])
    assert {rollout.step for rollout in read_rollouts(tmp_path)} == {1}
    assert files[1].name in caplog.text
    assert files[2].name in caplog.text
    (tmp_path / "config.json").write_text('{"model": "m", "train": ["1"], "mrsi": null, "cvo": {}}')
    assert "none yet" in render_run(tmp_path)


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_damaged_weights_are_named(posts: list[Post], tmp_path: Path, content: str, said: str):
    keep(tmp_path, 1, posts[0], ["a", "b"], [-0.5, 0.5])
    (tmp_path / "rewards.json").write_text(content)
    with pytest.raises(InputError, match=rf"rewards\.json of the run {said}"):
        read_rollouts(tmp_path)


def test_tables_are_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """TRL writes the table below a temporary folder, and the complete table is moved."""
    seen = []

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        folder = Path(self.args.output_dir) / "completions"
        (folder / "completions_00001.parquet").write_text(logs["text"])
        seen.append(sorted(path.read_text() for path in (tmp_path / "completions").glob("*")))
        if logs["text"] == "half":
            raise OSError("disk full")

    monkeypatch.setattr(GRPOTrainer, "log", log)
    trainer = object.__new__(ConstrainedGRPOTrainer)
    trainer.args = SimpleNamespace(output_dir=str(tmp_path))
    trainer.log_completions, trainer.accelerator = True, SimpleNamespace(is_main_process=True)
    for text in ("old", "new"):
        trainer.log({"text": text})
    with pytest.raises(OSError, match="disk full"):
        trainer.log({"text": "half"})
    assert seen == [[], ["old"], ["new"]]
    assert (tmp_path / "completions" / "completions_00001.parquet").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["completions"]
    assert trainer.args.output_dir == str(tmp_path)


def test_rollout_without_an_advantage_is_last():
    found = [Rollout(1, "p", str(value), {}, value) for value in (float("nan"), 0.5, -1.0, float("nan"), 1.0)]
    assert [rollout.text for rollout in sorted(found, key=lambda rollout: rollout.rank)] == [
        "1.0", "0.5", "-1.0", "nan", "nan",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pixels", "kept"),
    [
        (torch.zeros(1, 4, 3), True),  # a black image of Gemma 4, whose pixels are not shifted
        (torch.zeros(0, 4, 3), False),  # no post of the batch has an image
        (torch.zeros(2, 1, 3, 8, 8), False),  # the padding of Idefics3
        (torch.ones(2, 1, 3, 8, 8), True),
    ],
)
def test_only_missing_images_are_left_out(pixels: torch.Tensor, kept: bool):
    seen = _without_empty_images(lambda **inputs: inputs)(input_ids=torch.ones(2, 5), pixel_values=pixels)
    assert ("pixel_values" in seen) == kept


def test_each_chunk_of_rows_has_its_numbers_of_images():
    """LLaVA-OneVision needs them: only a single image is split into tiles."""
    seen = []
    called = _with_image_counts(lambda **inputs: seen.append(inputs["batch_num_images"].tolist()), [1, 3, 0, 2, 2])
    for rows in (2, 2, 1):
        called(input_ids=torch.ones(rows, 5))
    assert seen == [[1, 3], [0, 2], [2]]
