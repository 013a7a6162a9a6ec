"""Measures how long the schema of a post takes to compile, from a short post to 2,000 words and 4,000 Han characters.

    python benchmarks/grammar.py

Prints a row for each post: milliseconds of processor time for the schema, its grammar and the longest answer, and the
ratio of their sum to that of the post with half the length. A ratio near 2 means that time grows with the text only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from tiny import build_tiny

from gmner.programs.engine.grammar import GrammarCompiler
from gmner.programs.models.loading import load_vlm
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.schema import answer_schema, longest_answer

POSTS: dict[str, Callable[[int], str]] = {
    "English words": lambda size: " ".join(f"Ada{n * n % 997} met" for n in range(size // 2)),
    "Han characters": lambda size: "".join(chr(0x4E00 + n * n % 2999) for n in range(size)),
    "Thai clusters": lambda size: "ประยุทธ์จันทร์โอชา" * (size // 12),
}
SIZES = {"English words": (20, 125, 250, 1000, 2000), "Han characters": (140, 500, 1000, 2000, 4000)}
REPEATS = 3


def measured(compiler: GrammarCompiler, text: str) -> tuple[float, float, float]:
    """Seconds for the schema, the grammar and the longest answer."""
    start = time.process_time()
    schema = answer_schema(text, COARSE, BoxFormat(), (640, 480))
    built = time.process_time()
    compiler.compile(schema)
    compiled = time.process_time()
    longest_answer(schema)
    return built - start, compiled - built, time.process_time() - compiled


def main() -> None:
    """Measure each post several times, and print the fastest."""
    with tempfile.TemporaryDirectory() as folder:
        engine = load_vlm(build_tiny("idefics3", Path(folder) / "model"), cache=False).engine
        sys.stdout.write("post                  schema  grammar  longest   ratio\n")
        for name, post in POSTS.items():
            sums: dict[int, float] = {}
            for size in SIZES.get(name, SIZES["Han characters"]):
                # Each text differs, since parsed grammars and segmented texts are cached.
                texts = [f"{post(size)} {number}" for number in range(REPEATS)]
                compiler = GrammarCompiler(engine.model, engine.processor.tokenizer, "llguidance")
                times = min((measured(compiler, text) for text in texts), key=sum)
                sums[size] = sum(times)
                ratio = f"{sums[size] / sums[size // 2]:.1f}" if size // 2 in sums else "-"
                figures = "".join(f"{1000 * value:9.1f}" for value in times)
                sys.stdout.write(f"{size:5} {name:14}{figures} {ratio:>7}\n")


if __name__ == "__main__":
    main()
