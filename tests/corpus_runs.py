"""Posts for corpus runs, LMs that answer or fail after a few posts, and a function that starts a run."""

import threading
from pathlib import Path

from scripted import entity, words_of

from gmner.data.post import Post
from gmner.programs.corpus import extract_corpus
from gmner.programs.gmner import GMNER


def posts(count: int = 6) -> list[Post]:
    return [Post(f"post {number}", f"Ana met number {number}") for number in range(count)]


def named(request: object) -> dict:
    return {"reasoning": words_of(request), "entities": [entity("Ana")]}


class PowerError(Exception):
    """An error that is not caused by a post."""


def stopping_after(count: int):
    lock, asked = threading.Lock(), []

    def answer(request: object) -> dict:
        with lock:
            asked.append(request)
            if len(asked) > count:
                raise PowerError("the power went")
        return named(request)

    return answer


def run(program: GMNER, given: list[Post], out: Path, threads: int = 1, **options: bool) -> list:
    return extract_corpus(program, given, out, threads=threads, progress=False, **options)
