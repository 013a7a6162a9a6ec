"""The hub: what a name there stands for is downloaded, and a folder is uploaded only when somebody asks for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from gmner.signatures.errors import GmnerError

Kind = Literal["model", "dataset"]

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def folder_or_hub(
    name: str | PathLike[str],
    what: str,
    error: type[GmnerError],
    *,
    kind: Kind = "model",
    revision: str | None = None,
    files: Sequence[str] | None = None,
) -> Path:
    """The folder of that name, or a download of the repository `user/name`; what is neither stays a path to nothing.

    Args:
        name: A path or the name of a repository.
        what: What it should be, for an error: `Bundle`.
        error: Raised if the repository cannot be downloaded.
        kind: The kind of the repository.
        revision: Its branch, tag or commit; None: the newest.
        files: Patterns of the files that are wanted; None: all.
    """
    try:
        folder = Path(name).expanduser()
        if folder.exists() or not _NAME.fullmatch(str(name)):
            return folder
    except (OSError, ValueError, RuntimeError) as found:  # too long, not a path, the home of an unknown user
        raise error(f"{what} not found: the path is invalid", received=str(name), remedy=str(found)) from found
    try:
        wanted = None if files is None else list(files)
        return Path(snapshot_download(str(name), repo_type=kind, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as found:
        remedy = str(found).splitlines()[0]
        raise error(
            f"{what} not found, neither as a local folder nor on the Hub", received=str(name), remedy=remedy
        ) from found


def upload(folder: Path, repo_id: str, kind: Kind, *, private: bool, token: str | None) -> str:
    """Upload a folder as a repository of the hub, made if it is not there; the address of the commit."""
    api = HfApi(token=token)
    api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type=kind).commit_url)
