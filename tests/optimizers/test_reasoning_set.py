"""The reasoning set on disk: lossless, atomic, and never used for another model or other posts."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st
from kills import kills
from PIL import Image
from worlds import drawn

from gmner.data.jsonl import read_posts, write_posts
from gmner.data.post import Post, SceneObject
from gmner.optimizers.chains import reasoning_set
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.reasoning_origin import Origin
from gmner.optimizers.chains.reasoning_set import ReasoningSet, post_digest
from gmner.optimizers.chains.split import split_posts, stratum
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.chains.writing import ChainWriting, write_chains
from gmner.programs.models.families import profile_for_name
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import DataError, ImageError, InputError
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

FILES = ["README.md", "chains.jsonl", "data/chains.parquet", "split.json"]
POSTS = drawn("train", 12)
ORIGIN = Origin(BoxFormat("normalized", 1000), COARSE.names, 3, tuple(TEMPLATES), 2, "local/teacher@1")


def _made(posts: Sequence[Post] = POSTS, origin: Origin = ORIGIN) -> ReasoningSet:
    rng = random.Random(origin.seed)
    d1, d2 = split_posts(posts, 0.5, rng)
    frames = {post.id: Frame(origin.box_format, (256, 256), (252, 252)) for post in posts}
    return ReasoningSet.of(write_chains(d1, frames, ChainWriting(TEMPLATES, origin.per_post), rng), d1, d2, origin)


@pytest.fixture(scope="module")
def made() -> ReasoningSet:
    return _made()


@pytest.fixture
def folder(made: ReasoningSet, tmp_path: Path) -> Path:
    return made.save(tmp_path / "set", POSTS)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_round_trip(made: ReasoningSet, folder: Path):
    assert _files(folder) == FILES
    assert ReasoningSet.load(folder) == made
    assert len(made.chains) == 12
    assert {*made.d1} | {*made.d2} == {post.id for post in POSTS}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ENTITY = st.builds(
    lambda span, start, box: {"span": span, "start": start, "end": start + len(span), "type": "PER", "box": box},
    TEXTS.filter(len),
    st.integers(0, 9),
    st.sampled_from((None, [0.1, 0.2, 1 / 3, 7.0])),
)
CHAINS = st.lists(
    st.builds(
        Chain,
        st.sampled_from("abc"),
        TEXTS,
        TEXTS,
        st.lists(ENTITY, max_size=2).map(tuple),
        st.sampled_from(("template", "mllm")),
        TEXTS,
    ),
    unique_by=lambda chain: (chain.post_id, chain.style),
    max_size=5,
)


@pytest.mark.slow
@given(CHAINS)
def test_round_trip_of_any_chain(tmp_path_factory: pytest.TempPathFactory, chains: list[Chain]):
    folder = tmp_path_factory.mktemp("set")
    origin = replace(ORIGIN, teacher=None, resize=profile_for_name("Qwen2.5-VL").rule)
    made = ReasoningSet(tuple(chains), ("a", "b"), ("c",), dict.fromkeys("abc", "0"), origin)
    with ChainLog(folder / "log") as log:
        for chain in chains:
            log.append(chain)
    assert ReasoningSet.load(made.save(folder)) == made
    assert list(ChainLog(folder / "log").chains.values()) == chains


def test_folder_is_readable_by_datasets(made: ReasoningSet, folder: Path, tmp_path: Path):
    table = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert table.column_names == [
        "post_id", "split", "style", "author", "problem", "reasoning", "answer", "text",
    ]  # fmt: skip
    texts = {post.id: post.text for post in POSTS}
    for row, chain in zip(table, made.chains, strict=True):
        assert json.loads(row.pop("answer")) == list(chain.entities)
        assert row == {
            "post_id": chain.post_id, "split": "d1", "style": chain.style, "author": "template", "problem": "",
            "reasoning": chain.reasoning, "text": texts[chain.post_id],
        }  # fmt: skip


def test_table_has_the_half_and_optional_texts(tmp_path: Path):
    chains = (Chain("a", "stepwise", "x", ()), Chain("b", "stepwise", "y", ()))
    made = ReasoningSet(chains, ("b",), ("a",), dict.fromkeys("ab", "0"), ORIGIN)
    table = datasets.Dataset.from_parquet(
        str(made.save(tmp_path) / "data/chains.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert table["split"][:] == ["d2", "d1"]
    assert "text" not in table.column_names
    assert "`text`" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_push_uploads_the_saved_folder(made: ReasoningSet, monkeypatch: pytest.MonkeyPatch):
    uploaded = {}

    def upload(folder: Path, repo_id: str, kind: str, **options: Any) -> str:
        uploaded[repo_id] = (kind, options, _files(folder), ReasoningSet.load(folder) == made)
        return "https://hub.example/commit/1"

    monkeypatch.setattr(reasoning_set, "upload", upload)
    assert made.push_to_hub("ana/chains") == "https://hub.example/commit/1"
    files = ["README.md", "chains.jsonl", "data/chains.parquet", "split.json"]
    assert uploaded == {"ana/chains": ("dataset", {"private": True, "token": None}, files, True)}


def test_data_set_card(tmp_path: Path):
    wrong = "the box of `x` | is\nanother"
    chains = [Chain("a", "stepwise", "x", (), "mllm"), Chain("a", "table", "y", (), problem=wrong)]
    made = ReasoningSet(tuple(chains), ("a",), (), {"a": "0"}, ORIGIN)
    card = DatasetCard.load(made.save(tmp_path) / "README.md")
    assert card.data.size_categories == ["n<1K"]
    assert card.data.to_dict()["configs"][0]["data_files"] == [{"split": "train", "path": "data/chains.parquet"}]
    assert "{" not in card.text.replace('`{"span"', "")
    for line in (
        "`local/teacher@1` wrote 1 of the chains",
        "1 chains failed the check and were replaced.",
        "2 chains about",
        "D1 (1 posts)",
        "| stepwise | 1 |",
        "| mllm | 1 |",
        "| the box of 'x' \\| is another | 1 |",
        "integers, 0 to 1000 of the picture's width and height (normalized)",
    ):
        assert line in card.text
    assert _card_of(made, teacher=None, chains=made.chains[1:]).count("none by a model") == 1


def _card_of(made: ReasoningSet, *, chains: tuple[Chain, ...], **origin: Any) -> str:
    from gmner.optimizers.chains.reasoning_card import render_dataset_card

    changed = replace(made, chains=chains, origin=replace(made.origin, **origin))
    return render_dataset_card(changed.origin, changed.counts())


def test_counts(made: ReasoningSet):
    counts = made.counts(POSTS)
    assert counts.chains == sum(counts.styles.values()) == sum((counts.strata or {}).values()) == 12
    assert counts.posts == (6, 6)
    assert counts.authors == {"template": 12}
    assert (counts.fallbacks, counts.problems) == (0, {})
    kinds = {post.id: stratum(post) for post in POSTS}
    for name, count in (counts.strata or {}).items():
        assert count == 2 * sum(kinds[post_id] == name for post_id in made.d1)
    mended = (*made.chains[:9], *(replace(chain, problem="no box") for chain in made.chains[9:]))
    record = json.loads(json.dumps(replace(made, chains=mended).counts().to_record()))
    assert (record["fallbacks"], record["problems"], record["strata"]) == (3, {"no box": 3}, None)


def test_counts_and_texts_need_every_post_with_a_chain(made: ReasoningSet, tmp_path: Path):
    few = [post for post in POSTS if post.id != made.chains[0].post_id]
    with pytest.raises(InputError, match="A post with chains is missing"):
        made.counts(few)
    with pytest.raises(InputError, match="A post with chains is missing"):
        made.save(tmp_path / "set", few)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"d2": ("b", "c")}, "both D1 and D2"),
        ({"d1": ("a", "b", "a")}, "twice"),
        ({"digests": {"a": "0", "b": "0"}}, "digests"),
        ({"chains": (Chain("z", "s", "", ()),)}, "neither"),
        ({"chains": (Chain("a", "s", "x", ()), Chain("a", "s", "y", ()))}, "same style"),
    ],
)
def test_invalid_sets_are_refused(change: dict, fact: str):
    right = ReasoningSet((), ("a", "b"), ("c",), dict.fromkeys("abc", "0"), ORIGIN)
    with pytest.raises(InputError, match=fact):
        replace(right, **change)


def test_chain_with_a_lone_surrogate_is_refused_first(tmp_path: Path):
    made = ReasoningSet((Chain("a", "s", "half \ud83d", ()),), ("a",), (), {"a": "0"}, ORIGIN)
    with pytest.raises(InputError, match="post 'a': `reasoning` cannot be encoded as UTF-8"):
        made.save(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def _lines(folder: Path) -> list[str]:
    return (folder / "chains.jsonl").read_text(encoding="utf-8").splitlines()


BROKEN: list[tuple[Callable[[dict], Any], str]] = [
    (lambda line: {**line, "post_id": "nobody"}, "neither in D1 nor in D2"),
    (lambda line: "{half", "not JSON"),
    (lambda line: [line], "not a chain"),
    (lambda line: {**line, "styles": 1}, "unknown key 'styles'"),
    (lambda line: {key: line[key] for key in line if key != "reasoning"}, "missing key 'reasoning'"),
    (lambda line: {**line, "reasoning": None}, "`reasoning` must be a string"),
    (lambda line: {**line, "problem": 1}, "`problem` must be a string"),
    (lambda line: {**line, "entities": {}}, "must be a list"),
    (lambda line: {**line, "entities": ["Ada"]}, "not an entity of a chain"),
    (lambda line: {**line, "entities": [{**ADA, "end": 2}]}, "offsets"),
    (lambda line: {**line, "entities": [{**ADA, "start": True}]}, "offsets"),
    (lambda line: {**line, "entities": [{**ADA, "box": [1, 2, 3]}]}, "four numbers"),
    (lambda line: {**line, "entities": [{**ADA, "box": [3, 2, 1, 4]}]}, "box is invalid"),
]
ADA = {"span": "Ada", "start": 0, "end": 3, "type": "PER", "box": None}


@pytest.mark.parametrize(("broken", "fact"), BROKEN)
def test_broken_line_is_reported(folder: Path, broken: Callable[[dict], Any], fact: str):
    lines = _lines(folder)
    wrong = broken(json.loads(lines[4]))
    lines[4] = wrong if isinstance(wrong, str) else json.dumps(wrong)
    (folder / "chains.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=fact) as refusal:
        ReasoningSet.load(folder)
    assert refusal.value.fact.startswith(f"{folder / 'chains.jsonl'}:5: ")


def test_duplicate_line_and_invalid_bytes(folder: Path):
    path, lines = folder / "chains.jsonl", _lines(folder)
    path.write_text("\n".join([*lines, "", lines[0]]), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{path}:{len(lines) + 2}: A post has two chains in the same style"):
        ReasoningSet.load(folder)
    path.write_bytes(b'{"post_id": "\xff"}\n')
    with pytest.raises(DataError, match=f"{path}:1: not JSON"):
        ReasoningSet.load(folder)


def test_broken_split_is_reported(folder: Path):
    path = folder / "split.json"
    split = json.loads(path.read_text(encoding="utf-8"))
    changes: list[tuple[dict | None, str]] = [
        ({"d2": [*split["d2"], split["d1"][0]]}, "both D1 and D2"),
        ({"d1": split["d1"][1:]}, "digests belong to other posts"),
        ({"d1": [1]}, "not the split"),
        ({"version": 2}, "not the split"),
        ({"origin": {**split["origin"], "box_format": {"frame": "polar"}}}, "not the split"),
        (None, "not the split"),
    ]
    for change, fact in changes:
        path.write_text("{" if change is None else json.dumps({**split, **change}), encoding="utf-8")
        with pytest.raises(DataError, match=f"{path}: .*{fact}"):
            ReasoningSet.load(folder)


@pytest.mark.parametrize("name", ["split.json", "chains.jsonl"])
def test_missing_set_is_reported(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(InputError, match="Not the folder of a reasoning set"):
        ReasoningSet.load(folder)


def test_failed_save_leaves_the_old_set(
    made: ReasoningSet, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(self: datasets.Dataset, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(datasets.Dataset, "to_parquet", full)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(OSError, match="disk full"):
            replace(made, chains=made.chains[:1]).save(target)
    assert ReasoningSet.load(folder) == made
    assert _files(folder) == FILES
    assert _files(tmp_path / "new") == []
    assert datasets.is_progress_bar_enabled()


@pytest.mark.slow
def test_killed_save_leaves_the_old_or_the_new_set(
    made: ReasoningSet, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # The writer of the table needs threads, which a forked process lacks.
    monkeypatch.setattr(reasoning_set, "_write_table", lambda table, path: path.write_bytes(b"table"))
    smaller, found = replace(made, chains=made.chains[:3]), []
    for kill in kills(smaller.save, tmp_path / "kills", lambda place: shutil.copytree(
        folder, place, dirs_exist_ok=True
    )):  # fmt: skip
        found.append(ReasoningSet.load(kill.folder))
        assert found[-1] in (made, smaller), kill
        assert ReasoningSet.load(made.save(kill.folder)) == made
        assert _files(kill.folder) == FILES
    assert made in found
    assert found[-1] == smaller


def test_save_replaces_only_another_set(made: ReasoningSet, folder: Path):
    (folder / "done.json").write_text("{}")
    smaller = replace(made, chains=made.chains[:3])
    assert ReasoningSet.load(smaller.save(folder)) == smaller
    assert _files(folder) == sorted([*FILES, "done.json"])


def test_usable_for_the_original_model_and_posts(made: ReasoningSet, folder: Path):
    loaded = ReasoningSet.load(folder)
    longest = max(len(chain.reasoning) for chain in made.chains)
    loaded.usable_for(POSTS[::-1], BoxFormat("normalized", 1000), COARSE.names[::-1], limit=longest)
    loaded.usable_for(POSTS, BoxFormat(), COARSE, resize=profile_for_name("Qwen2-VL").rule)


@pytest.mark.parametrize(
    ("box_format", "named"),
    [
        (BoxFormat("normalized", 100), "normalized, 0 to 100'). Accepted: normalized, 0 to 1000"),
        (BoxFormat("resized"), "resized'"),
        (BoxFormat("original"), "original'"),
    ],
)
def test_refused_for_another_model_family(made: ReasoningSet, box_format: BoxFormat, named: str):
    with pytest.raises(InputError, match="another coordinate convention") as refusal:
        made.usable_for(POSTS, box_format, COARSE)
    assert named in str(refusal.value)
    assert "Write new chains" in refusal.value.remedy


def test_refused_for_another_resize_rule():
    rule = profile_for_name("Qwen2.5-VL").rule
    assert rule is not None
    frame = BoxFormat("resized")
    made = _made(origin=replace(ORIGIN, box_format=frame, resize=rule))
    made.usable_for(POSTS, frame, COARSE, resize=rule)
    made.usable_for(POSTS, frame, COARSE)
    made.usable_for(POSTS, BoxFormat("resized", 7), COARSE)  # the scale means nothing in this frame
    with pytest.raises(InputError, match="another coordinate convention"):
        made.usable_for(POSTS, frame, COARSE, resize=replace(rule, max_pixels=1000))


def test_refused_for_other_labels_or_shorter_limits(made: ReasoningSet):
    with pytest.raises(InputError, match="other entity types"):
        made.usable_for(POSTS, BoxFormat(), COARSE.names[:3])
    with pytest.raises(InputError, match="other entity types"):
        made.usable_for(POSTS, BoxFormat(), (*COARSE.names, "MISC"))
    with pytest.raises(InputError, match="longer than"):
        made.usable_for(POSTS, BoxFormat(), COARSE, limit=max(len(chain.reasoning) for chain in made.chains) - 1)


def test_refused_for_other_posts(made: ReasoningSet):
    last = POSTS[-1]
    others = {
        f"1 missing ({last.id})": POSTS[:-1],
        "1 not in it (new)": [*POSTS, replace(last, id="new")],
        f"1 changed since ({last.id})": [*POSTS[:-1], replace(last, text=last.text + "!")],
        f"1 missing ({last.id}); 1 not in it (new)": [*POSTS[:-1], replace(last, id="new")],
    }
    for named, posts in others.items():
        with pytest.raises(InputError, match="made for other posts") as refusal:
            made.usable_for(posts, BoxFormat(), COARSE)
        assert named in str(refusal.value)


def test_digest_depends_on_everything_in_a_chain():
    picture = Image.new("RGB", (8, 8))
    post = Post("a", "Ada b", picture, (GoldEntity("Ada", 0, 3, "PER", (Box(0, 0, 4, 4),)),), scene=())
    changed = Image.new("RGB", (8, 8))
    changed.putpixel((1, 1), (0, 0, 1))
    others = [
        replace(post, text="Ada c"),
        replace(post, entities=()),
        replace(post, entities=(GoldEntity("Ada", 0, 3, "ORG", (Box(0, 0, 4, 4),)),)),
        replace(post, entities=(GoldEntity("Ada", 0, 3, "PER", (Box(0, 0, 4, 5),)),)),
        replace(post, entities=(GoldEntity("Ada", 0, 3, "PER", ()),)),
        replace(post, scene=None),
        replace(post, scene=(SceneObject("Bo", "PER", Box(0, 0, 1, 1)),)),
        replace(post, image=None),
        replace(post, image=changed),
        replace(post, image=Image.new("RGB", (4, 16))),
    ]
    assert len({post_digest(one) for one in (post, *others)}) == 1 + len(others)
    same = replace(post, id="b", image=picture.copy(), tokens=("Ada", "b"), slice="x")
    float_box = replace(post, entities=(GoldEntity("Ada", 0, 3, "PER", (Box(0.0, 0.0, 4.0, 4.0),)),))
    assert post_digest(same) == post_digest(float_box) == post_digest(post)


def test_digest_does_not_depend_on_the_image_path(tmp_path: Path):
    write_posts(POSTS, tmp_path)
    assert [post_digest(post) for post in read_posts(tmp_path)] == [post_digest(post) for post in POSTS]
    with pytest.raises(ImageError, match=r"post 'a': .*missing"):
        post_digest(Post("a", "Ada", tmp_path / "none.png", ()))


APPENDING = """
import itertools, sys
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.chain import Chain
with ChainLog(sys.argv[1]) as log:
    for number in itertools.count(len(log.chains)):
        log.append(Chain(str(number), "stepwise", "Ada " * 4, ()))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
"""


@pytest.mark.slow
def test_killed_pass_resumes(tmp_path: Path):
    path, told = tmp_path / "chains.part", -1
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", APPENDING, path], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            start = told
            while told < start + 5:
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            assert process.wait(timeout=60) == -signal.SIGKILL
            rest = process.stdout.read().split("\n")[:-1]
            told = int(rest[-1]) if rest else told
        with ChainLog(path) as log:
            chains = log.chains
        # The chains that the process reported are there; the one in progress may be there, too.
        assert len(chains) in (told + 1, told + 2)
        assert list(chains) == [(str(number), "stepwise") for number in range(len(chains))]
        assert {chain.reasoning for chain in chains.values()} == {"Ada " * 4}
        told = len(chains) - 1


def test_incomplete_last_line_is_dropped(tmp_path: Path):
    path = tmp_path / "log"
    chains = [Chain(name, "stepwise", "Ada שלום 🎉 \ud83d\r\u2028", (ADA,), "llm", "once") for name in "ab"]
    with ChainLog(path) as log:
        for chain in chains:
            log.append(chain)
    data = path.read_bytes()
    second = data.index(b"\n") + 1
    for end in range(second, len(data)):
        path.write_bytes(data[:end])
        with ChainLog(path) as log:
            assert list(log.chains.values()) == chains[:1]
            log.append(chains[1])
        assert path.read_bytes() == data


def test_log_accepts_many_threads_and_keeps_the_last_chain(tmp_path: Path):
    with ChainLog(tmp_path / "new" / "log") as log:
        chains = [Chain(str(number), "stepwise", "x" * 5000, ()) for number in range(200)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(log.append, chains))
        log.append(replace(chains[0], reasoning="better"))
    found = ChainLog(log.path).chains
    assert found == log.chains
    assert len(found) == 200
    assert found["0", "stepwise"].reasoning == "better"
    with pytest.raises(ValueError, match="closed"):
        log.append(chains[0])


def test_complete_line_that_is_not_a_chain_is_reported(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b'{"post_id": "a"}\n{"cut')
    with pytest.raises(DataError, match=f"{path}:1: This is not a chain"):
        ChainLog(path)
    assert os.path.getsize(path) == len(b'{"post_id": "a"}\n{"cut')
