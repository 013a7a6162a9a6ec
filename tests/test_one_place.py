"""What can be added from outside: one of each kind is defined in one place, registered, used and removed again."""

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import dspy
import pytest
from command_line import fails, run
from PIL import Image
from scripted import scripted_lm

import gmner
from gmner.cli import models, registry
from gmner.cli.command import Command
from gmner.cli.printing import print_result
from gmner.data.post import Post
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import Limits

# One of each kind, as a file outside of the package would define it.


def read_tsv(location: gmner.readers.DatasetLocation) -> gmner.Posts:
    """Lines of an id, a name and its type, separated by tabs."""
    rows = [line.split("\t") for line in location.path.read_text(encoding="utf-8").splitlines()]
    return gmner.Posts(
        [Post(id_, name, entities=(GoldEntity(name, 0, len(name), type_),)) for id_, name, type_ in rows]
    )


def write_tsv(export: gmner.exporters.Export) -> None:
    rows = [(post.id, entity.span, entity.type) for post in export.posts for entity in post.gold]
    export.out.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def read_tsv_again(given: gmner.importers.Corrected) -> gmner.Posts:
    return read_tsv(gmner.readers.DatasetLocation(given.path))


def count_names(gold: Any, predicted: Any, region: gmner.protocols.RegionRule) -> dict[str, gmner.protocols.TaskCounts]:
    """Names alone, whatever their types and boxes are."""
    wanted, found = {entity.span for entity in gold}, {entity.span for entity in predicted}
    counts = gmner.protocols.TaskCounts(len(wanted & found), len(found), len(wanted))
    return dict.fromkeys(("gmner", "mner", "eeg"), counts)


def verdicts(facts: gmner.styles.Facts, rng: random.Random) -> str:
    return " ".join(["Verdicts.", *(f"{entity.span} is {entity.type}." for entity in facts.entities)])


def build_verdicts() -> gmner.MCR:
    mrsi = gmner.MRSI(styles=["verdicts"], tuning="none")
    return gmner.MCR(mrsi=mrsi, progress=False)


@gmner.rewards.judged
def all_found(judgement: Any) -> float:
    return float(all(finding.found for finding in judgement.findings))


READER = gmner.readers.Reader("tsv", read_tsv, lambda location: location.path.suffix == ".tsv")
EXPORTER = gmner.exporters.Exporter("tsv", write_tsv)
IMPORTER = gmner.importers.Importer("tsv", read_tsv_again)
PROTOCOL = gmner.protocols.Protocol("names", gmner.protocols.RegionRule(0.5), count_names, "this test", "names alone")
PRESET = gmner.presets.Preset("verdicts", "for this test", build_verdicts)
FAMILY = gmner.families.ModelFamily("toy_vlm", gmner.BoxFormat("normalized", 100), served_as="toy-?vision")
COMMAND = Command(
    "count",
    "count posts",
    "gmner count posts.jsonl",
    lambda parser: parser.add_argument("posts", type=Path),
    lambda given: print_result(str(len(gmner.read_dataset(given.posts)))),
)

# Each kind: the public module, the value, its name, another value under this name, and a built-in name.
KINDS = {
    "reader": (gmner.readers, READER, "jsonl"),
    "exporter": (gmner.exporters, EXPORTER, "coco"),
    "importer": (gmner.importers, IMPORTER, "coco"),
    "protocol": (gmner.protocols, PROTOCOL, "paper"),
    "preset": (gmner.presets, PRESET, "tiny"),
    "family": (gmner.families, FAMILY, "qwen2_5_vl"),
    "command": (registry, COMMAND, "extract"),
}
OTHERS = {
    "reader": dataclasses.replace(READER, read=print),
    "exporter": dataclasses.replace(EXPORTER, folder=True),
    "importer": dataclasses.replace(IMPORTER, read=print),
    "protocol": dataclasses.replace(PROTOCOL, region=gmner.protocols.RegionRule(0.7)),
    "preset": dataclasses.replace(PRESET, build=gmner.MCR),
    "family": dataclasses.replace(FAMILY, box_format=gmner.BoxFormat()),
    "command": dataclasses.replace(COMMAND, resumes=True),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def registered() -> Iterator[None]:
    gmner.rewards.register(all_found)
    gmner.styles.register(verdicts)
    for module, value, _ in KINDS.values():
        module.register(value)
    yield
    gmner.rewards.unregister("all_found")
    gmner.styles.unregister("verdicts")
    for module, value, _ in KINDS.values():
        module.unregister(value.name)


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    path = tmp_path / "posts.tsv"
    path.write_text("a\tAna\tPER\nb\tLagos\tLOC\n", encoding="utf-8")
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """One right name with a wrong type, and one wrong name."""
    names = {"a": ("Ana", "ORG"), "b": ("Lag", "LOC")}
    texts = {"a": "Ana", "b": "Lagos"}
    found = {id_: (gmner.GroundedEntity(name, 0, 3, type_),) for id_, (name, type_) in names.items()}
    gmner.write_predictions(
        [gmner.Prediction(id_, texts[id_], "", found[id_]) for id_ in texts], tmp_path / "answers.jsonl"
    )
    return tmp_path / "answers.jsonl"


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert run(*words) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("registered")
def test_a_reader_an_exporter_and_an_importer(tsv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    posts = gmner.read_dataset(tsv)
    assert [(post.id, post.gold[0].type) for post in posts] == [("a", "PER"), ("b", "LOC")]
    assert gmner.read_dataset(tsv, format="tsv") == posts
    out = tmp_path / "out.tsv"
    printed(capsys, "export", "--to", "tsv", "--gold", tsv, "--format", "tsv", "-o", out)
    assert out.read_text(encoding="utf-8") == tsv.read_text(encoding="utf-8")
    assert gmner.importers.read_corrections(out, "tsv") == posts
    back = tmp_path / "back.jsonl"
    printed(capsys, "import", "--from", "tsv", out, "-o", back)
    assert gmner.read_posts(back) == posts
    printed(capsys, "export", "--to", "coco", "--gold", tsv, "-o", tmp_path / "coco.json")
    assert [kind["name"] for kind in json.loads((tmp_path / "coco.json").read_text())["categories"]] == ["LOC", "PER"]


@pytest.mark.usefixtures("registered")
def test_a_protocol(tsv: Path, answers: Path, capsys: pytest.CaptureFixture[str]):
    evaluation = gmner.evaluate(gmner.read_predictions(answers), gmner.read_dataset(tsv), protocol="names")
    assert (evaluation.protocol, evaluation.gmner.f1) == ("names", 50.0)
    words = ("evaluate", answers, "--gold", tsv, "--protocol")
    assert json.loads(printed(capsys, *words, "names", "--json"))["gmner"]["f1"] == 50.0
    assert json.loads(printed(capsys, *words, "all", "--json"))["protocols"]["names"]["eeg"]["f1"] == 50.0
    assert "names alone" in printed(capsys, *words, "all")


@pytest.mark.usefixtures("registered")
def test_a_style_and_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert gmner.MRSI(styles=["verdicts", "table"]).style_set["verdicts"] is verdicts
    assert list(gmner.preset("verdicts").mrsi.style_set) == ["verdicts"]
    train = tmp_path / "train.tsv"
    train.write_text("".join(f"{n}\tName{n}\tPER\n" for n in range(8)), encoding="utf-8")
    monkeypatch.setattr(models, "load_program", lambda model, **_: gmner.GMNER(scripted_lm({})))
    words = ("--run-dir", tmp_path / "run", "-o", tmp_path / "bundle", "--preset", "verdicts")
    assert run("compile", "--train", train, *words) == 0
    demos = json.loads((tmp_path / "bundle" / "program.json").read_text(encoding="utf-8"))
    assert "Verdicts. Name" in json.dumps(demos)


@pytest.mark.usefixtures("registered")
def test_a_served_family():
    adapter = gmner.GMNER(lm=dspy.LM("openai/lab/ToyVision-7B")).adapter()
    assert adapter.profile.box_format == gmner.BoxFormat("normalized", 100)
    with pytest.raises(gmner.ModelError, match="family of the model is unknown"):
        gmner.GMNER(lm=dspy.LM("openai/lab/other")).adapter()


@pytest.mark.usefixtures("registered")
def test_a_reward_and_a_command(tsv: Path, capsys: pytest.CaptureFixture[str]):
    assert list(gmner.CVO(rewards=["span", "all_found"]).reward_set.weights) == ["span", "all_found"]
    assert printed(capsys, "count", tsv) == "2\n"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("export", "coco, label-studio, voc, tsv"),
        ("import", "coco, label-studio, voc, tsv"),
        (
            "extract",
            "mner-mi-plus, grec, riveg, entity-json, entity-json-coarse, ccks, real-photos, tsv (default: auto",
        ),
        ("evaluate", "mqspn-script, names, or 'all'"),
        ("compile", "qwen3-vl-4b (the paper's settings, not tried), verdicts (for this test)"),
        (None, "count posts"),
    ],
)
def test_help_lists_what_is_registered(
    command: str | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        run(*([] if command is None else [command]), "--help")
    assert said in capsys.readouterr().out


@kinds
def test_a_name_belongs_to_one_value(kind: str):
    module, value, built_in = KINDS[kind]
    assert module.register(value) is value
    again = dataclasses.replace(value)
    assert module.register(again) is again
    try:
        with pytest.raises(InputError, match=r"is registered under this name.*unregister"):
            module.register(OTHERS[kind])
        with pytest.raises(InputError, match=r"is registered under this name.*Choose another name"):
            module.register(dataclasses.replace(value, name=built_in))
        with pytest.raises(InputError, match=r"name of a .* is invalid.*'two words'"):
            module.register(dataclasses.replace(value, name="two words"))
    finally:
        module.unregister(value.name)
    module.register(OTHERS[kind])
    module.unregister(value.name)


@kinds
@pytest.mark.parametrize("wrong", [None, "jsonl", verdicts, object()], ids=["none", "name", "function", "object"])
def test_only_values_of_the_kind_are_registered(kind: str, wrong: object):
    module, value, _ = KINDS[kind]
    with pytest.raises(InputError, match=f"can be registered.*Accepted: {type(value).__name__}"):
        module.register(wrong)


@kinds
def test_built_in_values_stay(kind: str):
    module, value, built_in = KINDS[kind]
    for name in (built_in, value.name):
        with pytest.raises(InputError, match=r"was registered under this name.*nothing was registered"):
            module.unregister(name)


@kinds
def test_executing_a_definition_again_replaces_the_value(kind: str):
    module, value, _ = KINDS[kind]
    functions = {name: f for name in value.__slots__ if isinstance(f := getattr(value, name), FunctionType)}
    copies = {name: FunctionType(f.__code__, f.__globals__) for name, f in functions.items()}
    for name, copy in copies.items():
        copy.__qualname__, copy.__module__ = functions[name].__qualname__, functions[name].__module__
    again = dataclasses.replace(value, **copies)
    module.register(value)
    try:
        assert module.register(again) is again
    finally:
        module.unregister(value.name)


def test_functions_are_told_apart():
    def one(facts: Any, rng: Any, words: str = "") -> str:
        return words

    gmner.styles.register(partial(one, words="a"), "partial")
    gmner.styles.register(lambda facts, rng: "a", "lambda")
    try:
        gmner.styles.register(partial(one, words="a"), "partial")
        with pytest.raises(InputError, match=r"registered under this name.*'partial'"):
            gmner.styles.register(partial(one, words="b"), "partial")
        with pytest.raises(InputError, match=r"registered under this name.*'lambda'"):
            gmner.styles.register(lambda facts, rng: "b", "lambda")
    finally:
        gmner.styles.unregister("partial")
        gmner.styles.unregister("lambda")


def test_reserved_names_are_refused():
    with pytest.raises(InputError, match=r"registered under this name.*'auto'"):
        gmner.readers.register(dataclasses.replace(READER, name="auto"))
    with pytest.raises(InputError, match=r"registered under this name.*'all'"):
        gmner.protocols.register(dataclasses.replace(PROTOCOL, name="all"))


@pytest.mark.parametrize("wrong", [None, "table", dict, lambda facts: "", 3])
def test_only_styles_are_registered(wrong: Any):
    with pytest.raises(InputError, match="A style must be a function of facts and a random generator"):
        gmner.styles.register(wrong)


def test_styles_have_names():
    with pytest.raises(InputError, match=r"name of a style is invalid.*<lambda>"):
        gmner.styles.register(lambda facts, rng: "")
    gmner.styles.register(lambda facts, rng: "", "empty")
    gmner.styles.unregister("empty")
    with pytest.raises(InputError, match=r"Unknown style.*'verdicts'.*stepwise.*plain"):
        gmner.MRSI(styles=["verdicts"])
    with pytest.raises(InputError, match=r"The styles are not a list.*'table'"):
        gmner.MRSI(styles="table")


def test_what_is_gone_is_unknown(tsv: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "Unknown data format (got 'tsv'). Accepted: auto, jsonl" in fails(
        capsys, "evaluate", answers, "--gold", tsv, "--format", "tsv"
    )
    gold = tmp_path / "gold.jsonl"
    gmner.write_posts([Post("a", "Ana", entities=())], gold)
    assert "Unknown protocol (got 'names'). Accepted: paper" in fails(
        capsys, "evaluate", answers, "--gold", gold, "--protocol", "names"
    )
    with pytest.raises(InputError, match=r"Unknown preset.*Accepted: default, tiny"):
        gmner.preset("verdicts")


def test_a_preset_must_build_an_mcr():
    gmner.presets.register(gmner.presets.Preset("nothing", "nothing", dict))
    try:
        with pytest.raises(InputError, match="'nothing' does not return an MCR"):
            gmner.preset("nothing")
    finally:
        gmner.presets.unregister("nothing")


@pytest.mark.parametrize("field", ["served_as", "vision_modules"])
def test_patterns_of_a_family_are_checked(field: str):
    with pytest.raises(InputError, match=rf"{field} is not a regular expression"):
        dataclasses.replace(FAMILY, **{field: "("})


# A checkpoint of a family that transformers does not know either.


@pytest.fixture
def toy_checkpoint(tiny: Callable[[str], Path], tmp_path: Path) -> Iterator[Path]:
    """The tiny Idefics3 checkpoint as one of another architecture, `toy_vlm`."""
    from transformers import AutoConfig, AutoModelForImageTextToText, Idefics3Config, Idefics3ForConditionalGeneration
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    config = type("ToyConfig", (Idefics3Config,), {"model_type": "toy_vlm"})
    model = type("ToyModel", (Idefics3ForConditionalGeneration,), {"config_class": config})
    AutoConfig.register("toy_vlm", config)
    AutoModelForImageTextToText.register(config, model)
    folder = tmp_path / "toy"
    folder.mkdir()
    for file in tiny("idefics3").iterdir():
        text = file.read_bytes()
        if file.name == "config.json":
            text = json.dumps({**json.loads(text), "model_type": "toy_vlm"}).encode()
        (folder / file.name).write_bytes(text)
    yield folder
    CONFIG_MAPPING._extra_content.pop("toy_vlm")
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING._extra_content.pop(config)


@pytest.mark.slow
def test_a_family_of_checkpoints(toy_checkpoint: Path):
    from transformers import Idefics3Processor

    from gmner.optimizers.training.trainable import Lora, training_copy

    prepared: list[str] = []
    family = dataclasses.replace(
        FAMILY,
        processor=lambda: Idefics3Processor,
        prepare=lambda model: prepared.append(model.config.model_type),
        image_inputs=gmner.families.PaddedTiles(),
        image_pixels=lambda image_processor: 4096,
        vision_modules=r".*\.text_model.*",
    )
    gmner.families.register(family)
    try:
        lm = gmner.load_vlm(toy_checkpoint, cache=False)
        assert prepared == ["toy_vlm"]
        engine = lm.engine
        assert (engine.profile.box_format, engine.image_pixels) == (family.box_format, 4096)
        program = gmner.GMNER(lm=lm, limits=Limits(reasoning=20, entities=2))
        encoded: list[int] = []
        get_image_features = engine.model.get_image_features
        engine.model.get_image_features = lambda **inputs: encoded.append(1) or get_image_features(**inputs)
        for text in ("Ana is here", "Ana was here"):
            answer = program(text=text, image=Image.new("RGB", (64, 48), "red"))
            assert all(entity.span in text for entity in answer.entities)
        assert len(encoded) == 1
        lora, _ = training_copy(engine.weights.source, engine.path, "lora-frozen-vision", Lora(rank=2))
        trained = {name for name, weight in lora.named_parameters() if weight.requires_grad}
        assert trained
        assert not any("text_model" in name for name in trained)
        assert prepared == ["toy_vlm", "toy_vlm"]
        engine.close()
    finally:
        gmner.families.unregister("toy_vlm")
