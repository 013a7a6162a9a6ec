"""Damaged and malicious bundles: every fault raises an error of the library that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import scripted_lm

from gmner.programs.bundle import is_bundle, load, save_bundle
from gmner.programs.gmner import GMNER
from gmner.programs.manifest import MANIFEST_FILE, hash_files
from gmner.programs.models.families import ModelProfile, ResizeRule
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.loading import load_vlm
from gmner.programs.recorded import check_adapter_config
from gmner.signatures.errors import BundleError, GmnerError, ModelError

LM = scripted_lm({"reasoning": "", "entities": []})
NAME = {"span": "Ana", "start": 0, "end": 3, "type": "PER", "box": None}
DEEP = "[" * 100_000
WEIRD = [
    None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "\ud800", "x" * 5000, "\0", "../a", "load", "(",
    [], [[]], [None], {}, {"a": {}}, [1, 2],
]  # fmt: skip


def save(folder: Path) -> Path:
    program = GMNER(LM, profile=ModelProfile(rule=ResizeRule(28, 1, 9)))
    program.answer.demos = [{"text": "Ana", "image": None, "reasoning": "A name.", "entities": [NAME]}]
    return save_bundle(program, folder)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("pristine") / "bundle")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def write(folder: Path, name: str, data: Any) -> None:
    """Replace a JSON file of a bundle and update its hash."""
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    if name != MANIFEST_FILE:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        write(folder, MANIFEST_FILE, manifest | {"files": hash_files(folder)})


def places(data: Any, at: tuple = ()) -> list[tuple]:
    """The path of every value in JSON data."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [at, *(place for key, value in pairs for place in places(value, (*at, key)))]


def replaced(data: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[place[0]] = replaced(copy[place[0]], place[1:], value)
    return copy


@pytest.mark.parametrize("name", [MANIFEST_FILE, "program.json"])
@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"3", b"\xff\xfe", DEEP.encode(), b'{"a":' * 50_000, b"{", b"9" * 5000],
    ids=["empty", "null", "list", "number", "not UTF-8", "deep", "deep objects", "cut", "huge number"],
)  # fmt: skip
def test_invalid_file_is_reported(folder: Path, name: str, content: bytes):
    (folder / name).write_bytes(content)
    if name != MANIFEST_FILE:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        write(folder, MANIFEST_FILE, manifest | {"files": hash_files(folder)})
    with pytest.raises(BundleError, match=str(folder / name)):
        load(folder, lm=LM)
    with pytest.raises(BundleError, match=str(folder / name)):
        GMNER(LM).load(folder)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from([MANIFEST_FILE, "program.json"]), at=st.integers(0, 10**6), value=st.sampled_from(WEIRD))
def test_any_changed_value_loads_or_raises_a_library_error(folder: Path, name: str, at: int, value: Any):
    before = {file: (folder / file).read_bytes() for file in (MANIFEST_FILE, "program.json")}
    data = json.loads(before[name])
    places_ = places(data)
    write(folder, name, replaced(data, places_[at % len(places_)], value))
    try:
        load(folder, lm=LM)(text="Ana in Rome")
    except GmnerError:
        pass
    finally:
        for file, content in before.items():
            (folder / file).write_bytes(content)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((("lm", "dtype"), value) for value in ("load", "nn", "float99", "__name__", "int8", "")),
        (("lm", "max_batch"), 0),
        (("lm", "sampling"), {"api_base": 1}),
        (("lm", "sampling"), {"temperature": float("nan")}),
        *((("profile", "rule", key), value) for key in ("factor", "min_pixels") for value in (0, -28, 0.5, None)),
        (("profile", "rule", "factor"), float("nan")),
        *((("profile", "box_format", "frame"), value) for value in ("polar", "", None, [])),
        *((("box_format", "scale"), value) for value in (0, -1, 10**400, 1.5)),
        (("labels",), []),
        (("labels",), [["PER", ""], ["PER", ""]]),
        (("limits", "entities"), 0),
        (("limits", "reasoning"), 10**400),
        (("program",), None),
    ],
)
def test_invalid_values_in_the_manifest_are_refused(folder: Path, place: tuple, value: Any):
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    write(folder, MANIFEST_FILE, replaced(manifest, place, value))
    with pytest.raises(BundleError, match="manifest"):
        load(folder, lm=LM)


@pytest.mark.parametrize("path", ["demos/" + "x" * 5000, "a/" * 2500, "a\0b", "/etc/hostname", "../x", "a/../../b", ""])
def test_invalid_paths_in_the_manifest_are_refused(folder: Path, path: str):
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    write(folder, MANIFEST_FILE, manifest | {"files": {**manifest["files"], path: "0" * 64}})
    with pytest.raises(BundleError):
        load(folder, lm=LM)


@pytest.mark.parametrize("path", ["x" * 5000, "a/" * 2500, "a\0b", "~nobody-of-that-name/b", ""])
def test_bundle_at_an_impossible_path_does_not_exist(path: str):
    assert not is_bundle(path)
    with pytest.raises(BundleError):
        load(path, lm=LM)


@pytest.mark.parametrize("name", ["demos", "adapter", "model", "notes"])
def test_linked_folder_is_refused(folder: Path, tmp_path: Path, name: str):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "generation_config.json").write_text("{}")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"is a symbolic link.*{name}"):
        load(folder, lm=LM)


def test_linked_file_is_checked(folder: Path, tmp_path: Path):
    (folder / "program.json").rename(tmp_path / "blob")
    (folder / "program.json").symlink_to(tmp_path / "blob")  # as in the cache of the Hub
    assert load(folder, lm=LM)(text="Ana").entities == []


@pytest.mark.parametrize(
    "config",
    [
        {"rank_pattern": {"(": 4}},
        {"alpha_pattern": {"[a": 4}},
        {"rank_pattern": 5},
        {"target_modules": "*q_proj"},
        {"exclude_modules": "a{2,1}"},
        {"layers_pattern": ["(?P<"]},
        {"target_modules": [None]},
        [],
        None,
    ],
)
def test_adapter_with_an_invalid_pattern_is_refused(tmp_path: Path, config: Any):
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"adapter_config\.json"):
        check_adapter_config(tmp_path)


def test_adapter_is_checked_before_weights_are_loaded(folder: Path):
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text('{"rank_pattern": {"(": 4}}')
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")) | {"adapter": True}
    write(folder, MANIFEST_FILE, manifest | {"files": hash_files(folder)})
    with pytest.raises(BundleError, match=r"adapter is missing.*adapter_model\.safetensors"):
        load(folder, lm=LM)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    write(folder, MANIFEST_FILE, manifest | {"files": hash_files(folder)})
    with pytest.raises(BundleError, match=r"adapter_config\.json: rank_pattern has a pattern"):
        load(folder, lm=LM)


@pytest.mark.parametrize("dtype", ["load", "nn", "float99", "int8", "", None, 3])
def test_dtype_must_be_a_floating_point_type(tiny: Callable[[str], Path], dtype: Any):
    with pytest.raises(ModelError, match="dtype must be a floating-point dtype"):
        load_vlm(tiny("idefics3"), dtype=dtype)


def test_recorded_model_arguments_are_refused_with_another_base(folder: Path, tiny: Callable[[str], Path]):
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    write(folder, MANIFEST_FILE, replaced(manifest, ("lm", "model_kwargs"), {"use_kernels": True}))
    with pytest.raises(BundleError, match="use_kernels"):
        load(folder, base=tiny("idefics3"))


@pytest.fixture(scope="module")
def with_model(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a whole model."""
    lm = load_vlm(tiny("idefics3"), cache=False)
    folder = save_bundle(GMNER(lm), tmp_path_factory.mktemp("model") / "bundle")
    lm.engine.close()
    return folder


TENSOR = "model.text_model.embed_tokens.weight"


def in_json(*place: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(replaced(json.loads(content), place, value)).encode()


def in_header(tensor: str, key: str, value: Any) -> Callable[[bytes], bytes]:
    """Change a value in the header of a safetensors file."""

    def change(content: bytes) -> bytes:
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        header[tensor][key] = value
        written = json.dumps(header).encode()
        return len(written).to_bytes(8, "little") + written + content[end:]

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", in_json("image_token_id", value="load")),
        ("config.json", in_json("text_config", "initializer_range", value=[None])),
        ("config.json", in_json("model_type", value="nothing")),
        ("config.json", in_json("text_config", value={"model_type": "llama", "hidden_size": 65536})),
        ("config.json", in_json("text_config", "num_hidden_layers", value=10**9)),
        ("config.json", in_json("vision_config", "image_size", value=10**6)),
        ("config.json", in_json("text_config", "vocab_size", value=-1)),
        ("config.json", lambda _: DEEP.encode()),
        ("tokenizer.json", in_json("model", "vocab", "J", value=None)),
        ("tokenizer.json", in_json("model", "merges", value=[""])),
        ("tokenizer.json", lambda content: content[:1000]),
        ("tokenizer_config.json", lambda _: b"\xff\xfe"),
        ("processor_config.json", in_json("image_processor", "size", value=[None])),
        ("chat_template.jinja", lambda _: b""),
        ("chat_template.jinja", lambda _: b"\xa1"),
        ("model.safetensors", lambda _: b""),
        ("model.safetensors", lambda content: b"\xff" * 8 + content[8:]),
        ("model.safetensors", lambda content: content[:-5]),
        ("model.safetensors", in_header(TENSOR, "dtype", "F99")),
        ("model.safetensors", in_header(TENSOR, "data_offsets", [0, 10**18])),
    ],
)
def test_broken_model_in_a_bundle_is_refused(
    with_model: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes]
):
    folder = Path(shutil.copytree(with_model, tmp_path / "bundle"))
    file = folder / "model" / name
    file.write_bytes(change(file.read_bytes()))
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["base"]["fingerprint"] = fingerprint(folder / "model")
    write(folder, MANIFEST_FILE, manifest | {"files": hash_files(folder)})
    with pytest.raises(BundleError, match=r"The model of the bundle cannot be loaded"):
        load(folder)


def test_adapter_config_must_be_a_json_object(with_model: Path, tmp_path: Path):
    folder = Path(shutil.copytree(with_model, tmp_path / "bundle"))
    (folder / "model" / "adapter_config.json").write_text("[")
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    write(folder, MANIFEST_FILE, manifest | {"files": hash_files(folder)})
    with pytest.raises(BundleError, match="is not valid JSON"):
        load(folder)


def test_model_folder_with_the_same_faults_is_refused(with_model: Path, tmp_path: Path):
    folder = Path(shutil.copytree(with_model / "model", tmp_path / "model"))
    (folder / "config.json").write_bytes(in_json("image_token_id", value="x")((folder / "config.json").read_bytes()))
    with pytest.raises(ModelError, match=r"config\.json"):
        load_vlm(folder)
