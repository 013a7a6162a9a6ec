"""Measures how long Chromium takes to open a report of many posts, compared with an empty page. Needs Chromium.

python benchmarks/view.py
python benchmarks/view.py --posts 500 --keep report.html
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from chromium import Tab, chromium

from gmner.data.pages.answers_page import render_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.data.world.generate import World
from gmner.signatures.mentions import GroundedEntity


def answered(post: Post, *, boxed: bool) -> Prediction:
    """The gold as a prediction, with or without boxes."""
    entities = [
        GroundedEntity(e.span, e.start, e.end, e.type, e.boxes[0] if boxed and e.boxes else None) for e in post.gold
    ]
    return Prediction(
        post.id, post.text, "What the words name is compared with what the picture shows.", tuple(entities)
    )


def opened(tab: Tab, page: Path, rounds: int) -> tuple[float, float]:
    """Median seconds until a page is loaded, and until its first contentful paint."""
    loaded, painted = [], []
    for _ in range(rounds):
        begin = perf_counter()
        tab.open(page)
        loaded.append(perf_counter() - begin)
        painted.append(
            tab.ask("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime || 0") / 1000
        )
    return median(loaded), median(painted)


def main() -> None:
    """Write the page, open it and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, metavar="HTML", help="path to save the page to")
    args = parser.parse_args()
    posts = World().posts("test", args.posts)
    stages = {"without boxes": False, "with boxes": True}
    answers = {name: [answered(post, boxed=boxed) for post in posts] for name, boxed in stages.items()}
    scores = {name: evaluate(predictions, posts, progress=False) for name, predictions in answers.items()}
    pairs = [(post, {name: answers[name][index] for name in stages}) for index, post in enumerate(posts)]
    begin = perf_counter()
    html = render_html(pairs, title=f"{args.posts} posts", scores=scores)
    rendered = perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder, chromium() as tab:
        page, empty = args.keep or Path(folder) / "report.html", Path(folder) / "empty.html"
        page.write_text(html, encoding="utf-8")
        empty.write_text("<!doctype html><title>empty</title><p>nothing", encoding="utf-8")
        tab.resize(1280, 900)
        baseline, (loaded, painted) = opened(tab, empty, args.rounds)[0], opened(tab, page.resolve(), args.rounds)
    sys.stdout.write(f"{args.posts} posts, {len(html) / 1e6:.0f} MB, rendered in {rendered:.1f} s\n")
    sys.stdout.write(f"painted after {painted:.2f} s, loaded after {loaded:.2f} s (empty page: {baseline:.2f} s)\n")
    sys.stdout.write(f"ratio to an empty page: {loaded / baseline:.0f}\n")


if __name__ == "__main__":
    main()
