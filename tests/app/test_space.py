"""`docs/howto/space.md`: the files of a Space, exactly as the page has them, run as on a Space."""

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


@pytest.fixture
def files(repo_root: Path) -> dict[str, str]:
    """The files of the Space by name."""
    page = (repo_root / "docs" / "howto" / "space.md").read_text(encoding="utf-8")
    found = re.findall(r"^`([\w.]+)`[^`]*?:\n\n```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in found] == ["README.md", "app.py", "requirements.txt"]
    return dict(found)


def test_versions_of_the_space_are_supported(files: dict[str, str], repo_root: Path):
    _, settings, _ = files["README.md"].split("---\n")
    chosen = yaml.safe_load(settings)
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chosen["app_file"] in files
    assert chosen["python_version"] in SpecifierSet(project["requires-python"])
    (gradio,) = map(Requirement, project["optional-dependencies"]["app"])
    assert (chosen["sdk"], gradio.name) == ("gradio", "gradio")
    assert chosen["sdk_version"] in gradio.specifier
    needed = Requirement(files["requirements.txt"].splitlines()[-1])
    assert (needed.name, needed.extras) == ("gmner", {"app"})


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.enable_socket
def test_the_files_run_as_a_space(files: dict[str, str], tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, content in files.items():
        (tmp_path / name).write_text(content.replace("7860", str(port)), encoding="utf-8")
    space = {**os.environ, "SYSTEM": "spaces", "SPACE_ID": "you/space", "SPACE_HOST": "you-space.hf.space"}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=tmp_path, env=space, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )  # fmt: skip
    try:
        page = httpx.HTTPTransport(retries=60)
        with httpx.Client(transport=page, base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            headers = {"Host": "you-space.hf.space", "X-Forwarded-Proto": "https"}
            config = client.get("/config", headers=headers).json()
        assert config["root"] == "https://you-space.hf.space"
        ids = {part["props"].get("elem_id") for part in config["components"]}
        assert "gm-go" in ids
        assert "gm-model" not in ids
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "app.py", "requirements.txt"]
