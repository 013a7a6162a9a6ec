"""Prints the resident memory while photographs are answered; it must not grow after the first batches.

python benchmarks/memory.py                 # 500 photographs of 2000 x 1500, then 200 single calls
python benchmarks/memory.py --posts 60 --calls 20
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
from pathlib import Path

from PIL import Image

from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import GmnerError
from gmner.signatures.schema import Limits

SIZE = (2000, 1500)
BATCH = 50


def photograph(file: Path, seed: int) -> Path:
    """Write a colourful JPEG."""
    chosen = random.Random(seed)
    small = Image.frombytes("RGB", (40, 30), chosen.randbytes(3 * 40 * 30))
    small.resize(SIZE, Image.Resampling.BICUBIC).save(file, quality=85)
    return file


def resident() -> int:
    """Resident memory of this process in MB."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) // 1024


def main() -> None:
    """Answer posts, and print the resident memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=500)
    parser.add_argument("--calls", type=int, default=200)
    args = parser.parse_args()
    program = GMNER(load_vlm(cache=False), limits=Limits(reasoning=20, entities=2))
    with tempfile.TemporaryDirectory() as folder:
        # The posts share a few files to save disk space.
        files = [photograph(Path(folder) / f"{number}.jpg", number) for number in range(min(args.posts, BATCH))]
        posts = [Post(str(number), f"Paris {number}", files[number % len(files)]) for number in range(args.posts)]
        for begin in range(0, len(posts), BATCH):
            program.batch_posts(posts[begin : begin + BATCH], progress=False)
            sys.stdout.write(f"{begin + BATCH:5d} posts {resident():6d} MB\n")
            sys.stdout.flush()
        for number in range(args.calls):
            try:
                program(text=f"Paris {number}", image=files[number % len(files)])
            except GmnerError as error:
                sys.stdout.write(f"{error}\n")
            if (number + 1) % (BATCH // 2) == 0 or number + 1 == args.calls:
                sys.stdout.write(f"{number + 1:5d} calls {resident():6d} MB\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
