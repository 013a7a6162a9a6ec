"""Draws one post of a report as a picture, for the README.

gmner quickstart && python docs/report_picture.py runs/quickstart/report.html test-12 -o docs/pictures/report.webp

Needs Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from chromium import chromium

_SIZE = (1320, 1400)
_SHOW = """(id => {
  const card = document.querySelector(`article[data-id="${id}"]`);
  if (!card) return null;
  card.hidden = false;
  for (const part of document.body.querySelectorAll('*'))
    if (getComputedStyle(part).position === 'sticky') part.style.position = 'static';
  card.querySelectorAll('details').forEach((part) => { part.open = true; });
  card.scrollIntoView();
  const place = card.getBoundingClientRect();
  return [place.left, place.top, place.right, place.bottom];
})(%r)"""


def main() -> None:
    """Draw the post with the given id."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("post")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    with chromium() as tab, tempfile.TemporaryDirectory() as folder:
        tab.resize(*_SIZE)
        tab.open(given.report.resolve())
        place = tab.ask(_SHOW % given.post)
        if place is None:
            parser.error(f"the report has no post {given.post}")
        tab.screenshot(Path(folder) / "page.png")
        with Image.open(Path(folder) / "page.png") as page:
            page.convert("RGB").crop(tuple(map(round, place))).save(given.output, quality=90, method=6)


if __name__ == "__main__":
    main()
