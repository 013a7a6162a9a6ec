"""Publishing programs: the merged checkpoint, and uploads to the Hub."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from scripted import scripted_lm
from tiers import daily
from transformers import AutoModelForImageTextToText

from gmner.cli.main import main
from gmner.data.post import Post
from gmner.programs.bundle import load
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import BundleError, InputError, ModelError
from gmner.signatures.schema import Limits

pytestmark = pytest.mark.slow

POSTS = [Post("1", "Kevin Durant in Paris"), Post("2", "red team", Image.new("RGB", (60, 90), "red"))]
SHORT = Limits(reasoning=20, entities=2)


@pytest.fixture(scope="module", params=daily(["qwen2_5_vl", "smolvlm"], "qwen2_5_vl"))
def tuned(request: pytest.FixtureRequest, tiny: Callable[[str], Path], tmp_path_factory) -> GMNER:
    """A program on a tiny model with an adapter that changes its answers."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_pretrained(tiny(request.param))
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    model.save_pretrained(folder)
    return GMNER(load_vlm(tiny(request.param), adapter=folder, cache=False), limits=SHORT)


def answers(program: GMNER) -> list[list[tuple]]:
    return [[(e.key, e.type, e.box) for e in p.entities] for p in program.batch_posts(POSTS, progress=False)]


def test_merged_checkpoint_gives_the_same_answers(tuned: GMNER, tmp_path: Path):
    tuned.save_merged(tmp_path / "merged")
    merged = GMNER(load_vlm(tmp_path / "merged", cache=False), limits=SHORT)
    assert answers(merged) == answers(tuned)
    files = {file.name for file in (tmp_path / "merged").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= files
    assert not any(name.startswith("adapter") for name in files)
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")  # as a server loads it
    theirs, ours = plain.state_dict(), tuned.model.engine.model.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name].float(), ours[name].float()) for name in ours)


def test_merged_checkpoint_has_the_processor_of_its_base(tuned: GMNER, tmp_path: Path):
    tuned.save_merged(tmp_path / "merged")
    base = tuned.model.engine.path
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        if (base / name).is_file():
            assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()


def test_quantized_weights_are_not_merged(tuned: GMNER, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuned.model.engine.model, "is_quantized", True, raising=False)
    with pytest.raises(ModelError, match="quantized"):
        tuned.save_merged(tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_merging_served_models_or_into_other_folders_is_refused(tuned: GMNER, tmp_path: Path):
    with pytest.raises(ModelError, match="served"):
        GMNER(scripted_lm({})).save_merged(tmp_path / "merged")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="output folder is not empty"):
        tuned.save_merged(tmp_path / "full")
    assert [file.name for file in tmp_path.iterdir()] == ["full"]


def test_merge_command(tuned: GMNER, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tuned.save(tmp_path / "bundle")
    assert main(["merge", str(tmp_path / "bundle"), "-o", str(tmp_path / "merged")]) == 0
    assert "vllm serve" in capsys.readouterr().err
    assert answers(GMNER(load_vlm(tmp_path / "merged", cache=False), limits=SHORT)) == answers(tuned)


class Hub:
    """Records the calls of the Hub's library."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[dict] = []
        self.files: dict[str, bytes] = {}
        monkeypatch.setattr("gmner.programs.models.hub.HfApi", lambda token: self)

    def create_repo(self, repo_id: str, **options: object) -> None:
        self.made.append({"repo_id": repo_id, **options})

    def upload_folder(self, *, repo_id: str, folder_path: Path, repo_type: str) -> SimpleNamespace:
        files = [file for file in Path(folder_path).rglob("*") if file.is_file()]
        self.files = {file.relative_to(folder_path).as_posix(): file.read_bytes() for file in files}
        return SimpleNamespace(commit_url=f"https://hub.example/{repo_id}/commit/1")

    def download(self, folder: Path) -> Path:
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder


def test_program_round_trip_through_the_hub(tuned: GMNER, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = Hub(monkeypatch)
    tuned.scores = {"cvo": {task: {"f1": 12.5} for task in ("gmner", "mner", "eeg")}}
    assert tuned.push_to_hub("ana/tuned").startswith("https://")
    tuned.scores = None
    assert hub.made == [{"repo_id": "ana/tuned", "repo_type": "model", "private": True, "exist_ok": True}]
    card = hub.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: gmner\n")
    assert 'gmner.load("ana/tuned")' in card
    assert "| cvo | 12.50 | 12.50 | 12.50 |" in card
    assert "`PER`" in card
    monkeypatch.setattr(
        "gmner.programs.models.hub.snapshot_download", lambda *_, **__: str(hub.download(tmp_path / "cache"))
    )
    assert answers(load("ana/tuned")) == answers(tuned)


def test_missing_bundle_is_reported():
    with pytest.raises(BundleError, match="not found, neither as a local folder nor on the Hub"):
        load("nobody/nothing")
    with pytest.raises(BundleError, match="folder is not a bundle"):
        load("/no/such/folder")
