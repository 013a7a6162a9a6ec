"""MkDocs hooks: make the package importable for griffe, and add files from outside of `docs/` to the site.

The repository root is the package, whatever its folder is called, but griffe looks for a folder `gmner`. Pages may link
to files outside of `docs/`: README, changelog and notebooks become pages of the site, and other files are copied.
"""

from __future__ import annotations

import json
import posixpath
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    **{f"notebooks/{file.name}": f"notebooks/{file.stem}.md" for file in ROOT.glob("notebooks/*.ipynb")},
}
"""Files outside of `docs/` that are pages of the site."""

_LINK = re.compile(r"\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
_EXAMPLE = re.compile(r"^( +)Example:$", re.MULTILINE)
_sources = tempfile.TemporaryDirectory(prefix="gmner-docs-")


@event_priority(100)  # before mkdocstrings reads its configuration
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Copy the package's modules into a folder `gmner` and add it to griffe's search path."""
    package = Path(_sources.name, "gmner")
    for source in (*ROOT.glob("*.py"), *(file for room in rooms(ROOT) for file in room.rglob("*.py"))):
        target = package / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        # griffe recognises only the plural as a code section.
        target.write_text(_EXAMPLE.sub(r"\1Examples:", source.read_text(encoding="utf-8")), encoding="utf-8")
    handlers = config.plugins["mkdocstrings"].config["handlers"]
    handlers.setdefault("python", {})["paths"] = [_sources.name]
    return config


def rooms(root: Path) -> list[Path]:
    """The packages in a folder."""
    return sorted(marker.parent for marker in root.glob("*/__init__.py"))


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add README, changelog and notebooks as pages."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=from_notebook(text) if source.endswith(".ipynb") else text))
    return files


def from_notebook(text: str) -> str:
    """Convert a notebook (JSON) to Markdown: text, code and outputs."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += map(_shown, cell.get("outputs", []))
    return "\n\n".join(parts) + "\n"


def _shown(output: dict[str, Any]) -> str:
    """Return a cell's output: HTML or SVG unchanged, otherwise text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return f'<div class="shown">{"".join(data[kind])}</div>'
    return f"```text\n{''.join(data['text/plain'])}\n```"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Redirect links to files outside of `docs/` to copies on the site, which are added if missing."""
    here = {page: source for source, page in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def copied(source: str) -> str:
        if files.get_file_from_path(f"files/{source}") is None:
            files.append(File.generated(config, f"files/{source}", abs_src_path=str(ROOT / source)))
        return f"files/{source}"

    return relinked(markdown, here, page.file.src_uri, copied)


def relinked(markdown: str, source: str, page: str, copied: Callable[[str], str]) -> str:
    """Rewrite the links of a page for the site.

    Args:
        markdown: The page's text.
        source: The page's path in the repository.
        page: The page's path in the site's sources.
        copied: Maps a repository file outside of `docs/` to its path on the site.

    Returns:
        The text. Links to missing files are unchanged, so that MkDocs reports them.
    """

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["path"]))
        if not (ROOT / target).is_file() or target.startswith(".."):
            return found[0]
        place = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else copied(target))
        return f"]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{found['anchor'] or ''})"

    return _LINK.sub(link, markdown)


def on_shutdown() -> None:
    """Remove the copied sources."""
    _sources.cleanup()
