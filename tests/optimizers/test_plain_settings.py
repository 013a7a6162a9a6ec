"""Settings as plain data: listed, changed by name, and refused with the name of the setting."""

from pathlib import Path
from typing import Any

import pytest

from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.plain_settings import parse_settings, read_settings, settings_of, settings_text, with_settings
from gmner.optimizers.presets import PRESETS, preset
from gmner.signatures.errors import DataError, InputError


@pytest.mark.parametrize("name", list(PRESETS))
def test_listed_settings_rebuild_the_optimizer(name: str, tmp_path: Path):
    optimizer = preset(name)
    (tmp_path / "mcr.yaml").write_text(settings_text(optimizer))
    settings = read_settings(tmp_path / "mcr.yaml")
    assert settings == settings_of(optimizer)
    assert settings_of(with_settings(MCR(mrsi=None), settings)) == settings


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("seed=2", ("seed",), 2),
        ("cvo=null", ("cvo",), None),
        ("cvo.rate=1e-5", ("cvo", "rate"), 1e-5),
        ("max_minutes=30", ("max_minutes",), 30),
        ("mrsi.lora.rank=8", ("mrsi", "lora", "rank"), 8),
        ("mrsi.demonstrations.count=3", ("mrsi", "demonstrations", "count"), 3),
        ("mrsi.sft_options.weight_decay=0.1", ("mrsi", "sft_options"), {"weight_decay": 0.1}),
        ("mrsi.tuning=none", ("mrsi", "tuning"), "none"),
        ("cvo.rewards.span=2", ("cvo", "rewards", "span"), 2.0),
        ("cvo.rewards={span: 2}", ("cvo", "rewards"), {"span": 2.0}),
        ("cvo.grpo_options={loss_type: grpo}", ("cvo", "grpo_options"), {"loss_type": "grpo"}),
    ],
)
def test_a_setting_changes_nothing_else(word: str, path: tuple[str, ...], value: Any):
    expected = settings_of(MCR())
    place = expected
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    before = MCR()
    assert settings_of(with_settings(before, parse_settings([word]))) == expected
    assert settings_of(before) == settings_of(MCR())


def test_a_later_setting_wins_and_a_stage_that_was_off_is_on_again():
    settings = parse_settings(["cvo.rate=1e-4", "cvo.rate=1e-5", "mrsi.per_post=2"])
    optimizer = with_settings(MCR(mrsi=None), settings)
    assert (optimizer.cvo.rate, optimizer.mrsi) == (1e-5, MRSI(per_post=2))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed", "NAME=VALUE"),
        ("=3", "NAME=VALUE"),
        ("cvo..rate=3", "NAME=VALUE"),
        ("cvo.prompts=[1", "NAME=VALUE"),
        ("sead=1", "Unknown setting sead. Accepted: mrsi, cvo,"),
        ("cvo.batch=3", "Unknown setting cvo.batch"),
        ("mrsi.lora.ranks=3", "Unknown setting mrsi.lora.ranks. Accepted: rank, alpha, dropout"),
        ("mrsi.lora.rank=0", "mrsi.lora: rank must be"),
        ("mrsi.styles=[nope]", "mrsi: Unknown style (got 'nope')"),
        ("mrsi.styles=table", "mrsi: "),
        ("mrsi.styles.table=1", "mrsi.styles has no settings of its own"),
        ("cvo.rate.x=1", "cvo.rate has no settings of its own"),
        ("cvo.rewards.nope=1", "cvo: Unknown reward (got 'nope')"),
        ("cvo.temperature=warm", "cvo: temperature"),
        ("seed=2024-13-99", "NAME=VALUE"),
        ("mrsi.answers=maybe", "Unusable value of mrsi.answers (got 'maybe'). Accepted: true or false"),
        ("progress=1", "Unusable value of progress (got 1). Accepted: true or false"),
        ("mrsi.chains_from=3", "Unusable value of mrsi.chains_from (got 3). Accepted: a path or null"),
        ("mrsi.styles={table: 1}", "Accepted: a list of names"),
        ("cvo.weights=3", "Unusable value of a setting of cvo"),
        ("mrsi=3", "mrsi must be MRSI(...) or None"),
        ("holdout=2", "holdout must be"),
        (
            "cvo.grpo_options={loss_typ: grpo}",
            "cvo: Unknown option in grpo_options (got 'loss_typ')",
        ),
        ("mrsi.sft_options.weight_decai=1", "the arguments of trl.SFTConfig. Did you mean weight_decay"),
    ],
)
def test_an_unusable_setting_is_named(word: str, said: str):
    with pytest.raises(InputError) as caught:
        with_settings(MCR(), parse_settings([word]))
    assert said in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [
    (b"a: [", "not YAML"), (b"\xff", "not YAML"), (b"- a", "not a mapping"),
    (b"seed: 1\nseed: 2", "key seed occurs twice"), (b"cvo: {rate: 1, rate: 2}", "key rate occurs twice"),
])  # fmt: skip
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "mcr.yaml").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_settings(tmp_path / "mcr.yaml")


@pytest.mark.parametrize(("name", "said"), [("missing.yaml", "File not found"), (".", "Not a file")])
def test_what_is_not_a_file_is_refused(tmp_path: Path, name: str, said: str):
    with pytest.raises(InputError, match=f"{said} .*Accepted: a YAML or JSON file"):
        read_settings(tmp_path / name)


def test_an_empty_file_changes_nothing(tmp_path: Path):
    (tmp_path / "mcr.yaml").write_text("# nothing\n")
    assert read_settings(tmp_path / "mcr.yaml") == {}
