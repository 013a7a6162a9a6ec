"""Downloads from and uploads to the Hugging Face Hub."""

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
    """Return a local folder, or download the repository `user/name` from the Hub.

    A name that is neither an existing path nor of this form is returned as a path, which does not exist.

    Args:
        name: A path or the name of a repository.
        what: The subject of the error message, for example `Bundle`.
        error: The class of the error.
        kind: The kind of the repository.
        revision: Its branch, tag or commit; None: the newest.
        files: Patterns of the files to download; None: all.

    Raises:
        GmnerError: Of the class `error`: the path is invalid, or the repository cannot be downloaded.
    """
    try:
        folder = Path(name).expanduser()
        if folder.exists() or not _NAME.fullmatch(str(name)):
            return folder
    except (OSError, ValueError, RuntimeError) as cause:  # too long, not a path, or the home of an unknown user
        raise error(f"{what} path is invalid", received=str(name), remedy=str(cause)) from cause
    try:
        patterns = None if files is None else list(files)
        return Path(snapshot_download(str(name), repo_type=kind, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as cause:
        remedy = str(cause).splitlines()[0]
        raise error(
            f"{what} not found, neither as a local folder nor on the Hub", received=str(name), remedy=remedy
        ) from cause


def upload(folder: Path, repo_id: str, kind: Kind, *, private: bool, token: str | None) -> str:
    """Upload a folder to a repository on the Hub, which is created if it does not exist.

    Args:
        folder: The folder.
        repo_id: The name of the repository, `user/name`.
        kind: The kind of the repository.
        private: Whether a new repository is private.
        token: A token of the Hub; None: that of the logged-in user.

    Returns:
        The URL of the commit.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses the upload.
    """
    api = HfApi(token=token)
    api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type=kind).commit_url)
