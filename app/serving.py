"""`serve`: runs the page until Ctrl-C; `launch_app`: the same with keyword arguments, as on a Space."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gmner.app.corrections import CorrectionsFile
from gmner.app.policy import ContentPolicy
from gmner.app.samples import sample_posts
from gmner.app.settings import AppSettings
from gmner.programs.choice import ProgramChoice, check_choice
from gmner.signatures.errors import InputError
from gmner.signatures.labels import as_labels

LOCAL = "127.0.0.1"
LARGEST_UPLOAD = 20 * 2**20
"""Largest uploaded file in bytes."""

_UPLOADS = "GRADIO_TEMP_DIR"


def check_gradio() -> None:
    """Check that Gradio is installed, without importing it.

    Raises:
        InputError: It is not.
    """
    if find_spec("gradio") is None:
        raise InputError("The app needs Gradio, which is not installed", remedy="pip install 'gmner[app]'")


@contextmanager
def running(settings: AppSettings, *, port: int | None = None, host: str = LOCAL) -> Iterator[str]:
    """Serve the page while the block runs.

    Uploads are kept in a temporary folder, which is deleted at the end. Nothing is sent to Gradio's makers.

    Args:
        settings: What the page starts with; without samples, it gets those of `sample_posts`.
        port: The port; None: the first free one from 7860.
        host: The address to listen on.

    Yields:
        The address of the page.

    Raises:
        InputError: Gradio is not installed, or the page cannot be served at this address.
    """
    check_gradio()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by Gradio when it is imported and later
    from starlette.middleware import Middleware

    from gmner.app.page import build_page, head, theme

    # At launch, Gradio asks its own page whether it answers; a proxy would not reach it.
    direct = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), LOCAL, "localhost")))
    with (
        tempfile.TemporaryDirectory(prefix="gmner-app-", ignore_cleanup_errors=True) as folder,
        _environment(**{_UPLOADS: str(Path(folder) / "uploads"), "no_proxy": direct, "NO_PROXY": direct}),
    ):
        (samples := Path(folder) / "samples").mkdir()
        blocks = build_page(settings if settings.samples else replace(settings, samples=sample_posts(samples)))
        try:
            _, address, _ = blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                inline=False,
                quiet=True,
                prevent_thread_lock=True,
                footer_links=[],
                run_history=False,
                mcp_server=False,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
                max_file_size=LARGEST_UPLOAD,
                app_kwargs={"middleware": [Middleware(ContentPolicy)], "docs_url": None, "redoc_url": None},
                theme=theme(),
                head=head(),
            )
        except OSError as error:
            fact = "The page cannot be served: the port is in use, or the host is not an address of this machine"
            received = f"{host}, port {'7860 to 7959' if port is None else port}"
            raise InputError(fact, received=received, remedy="Choose another port") from error
        try:
            yield address
        finally:
            blocks.close(verbose=False)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def serve(settings: AppSettings, started: Callable[[str], None], *, port: int | None = None, host: str = LOCAL) -> None:
    """Serve the page until Ctrl-C.

    Args:
        settings: What the page starts with.
        started: Called with the address of the page.
        port: See `running`.
        host: See `running`.

    Raises:
        InputError: See `running`.
    """
    try:
        with running(settings, port=port, host=host) as address, suppress(KeyboardInterrupt):
            started(address)
            while not threading.Event().wait(3600):
                pass
    finally:
        if settings.corrections is not None:
            settings.corrections.close()


def launch_app(
    model: str | None = None,
    *,
    second: str | None = None,
    labels: Any = None,
    corrections: str | os.PathLike[str] | None = None,
    host: str = LOCAL,
    port: int | None = None,
    fixed: bool | None = None,
) -> None:
    """Serve the page of `gmner app` until the process is stopped, for example on a Hugging Face Space.

    Args:
        model: A model (folder or Hub id) or a bundle; None: the embedded model.
        second: A model or bundle beside it.
        labels: Entity types, see `GMNER`; None: the default. Bundles have their own.
        corrections: File for corrections; None: they are not saved.
        host: The address to listen on. With `0.0.0.0`, others can open the page.
        port: The port; None: the first free one from 7860.
        fixed: Whether visitors cannot choose other models or servers. None: they can if `host` is this machine alone;
            pass True behind a proxy, through which others reach such a host, too.

    Raises:
        InputError: Gradio is not installed, the port is in use, `labels` are invalid or given with a bundle, or the
            file of the corrections is refused, see `CorrectionsFile`.
        DataError: The file of the corrections is damaged.

    Example:
        >>> gmner.launch_app("you/your-bundle", host="0.0.0.0", port=7860)  # doctest: +SKIP
    """
    types = None if labels is None else as_labels(labels)
    settings = AppSettings(
        choice=ProgramChoice(model, labels=types),
        second=None if second is None else ProgramChoice(second, labels=types),
        corrections=None if corrections is None else CorrectionsFile(corrections),
        fixed=host not in (LOCAL, "localhost", "::1") if fixed is None else fixed,
    )
    check_choice(settings.choice)
    serve(settings, lambda address: None, port=port, host=host)
