"""The formats of `gmner export --to`, one line each; `register` adds a format from outside the package."""

from __future__ import annotations

from gmner.data.export import coco, label_studio, voc
from gmner.data.export.exporter import Export, Exporter
from gmner.signatures.registry import Registry, check_type

__all__ = ["EXPORTERS", "Export", "Exporter", "register", "unregister"]

_BUILT_IN = (coco.COCO, label_studio.LABEL_STUDIO, voc.VOC)
EXPORTERS: Registry[Exporter] = Registry("export format", {exporter.name: exporter for exporter in _BUILT_IN})
"""The exporters by the name of their format."""


def register(exporter: Exporter) -> Exporter:
    """Add an export format: `gmner export --to` accepts its name.

    Args:
        exporter: The exporter.

    Returns:
        The exporter itself.

    Raises:
        InputError: Not an `Exporter`, a name that is not a word, or another format has this name.

    Example:
        >>> def write_texts(export):
        ...     export.write_json([post.text for post in export.posts])
        >>> register(Exporter("texts", write_texts)).name
        'texts'
        >>> unregister("texts")
    """
    check_type(exporter, Exporter, "an")
    EXPORTERS.add(exporter.name, exporter)
    return exporter


def unregister(name: str) -> None:
    """Remove an export format that `register` added.

    Raises:
        InputError: No format with this name was registered.
    """
    EXPORTERS.remove(name)
