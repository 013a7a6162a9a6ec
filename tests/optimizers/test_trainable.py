"""A third kind of program, defined outside the package, is trained through the `Trainable` interface."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from scripted import scripted_lm

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.compilation import Compilation
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.rows import program_rows
from gmner.programs.gmner import GMNER
from gmner.programs.program import GroundingProgram
from gmner.programs.staged import StagedGMNER
from gmner.programs.trainable import Keep, ProgramCall, Trainable, TuningCall, post_inputs
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity
from gmner.signatures.tasks import ExtractMentions

POST = Post("1", "Ana met Ben", entities=(GoldEntity("Ana", 0, 3, "PER"), GoldEntity("Ben", 8, 11, "PER")))
CHAIN = Chain("1", "stepwise", "Names: Ana, Ben.", ({"span": "Ana", "start": 0, "end": 3, "type": "PER", "box": None},))


class NamesOnly(GroundingProgram):
    """Extracts mentions and grounds none of them."""

    whole_answers = False
    demonstrations: tuple[Any, ...] = ()

    def _build(self) -> None:
        self.extract = dspy.Predict(ExtractMentions)

    def set_demonstrations(self, demos: Sequence[Any]) -> None:
        raise NotImplementedError

    def tuning_calls(
        self, post: Post, reasoning: str, entities: Sequence[GroundedEntity], demos: Sequence[Mapping[str, Any]]
    ) -> list[TuningCall]:
        return [(self._call(post), {"mentions": list(entities)})]

    def rollout_calls(self, posts: Sequence[Post], demos: Sequence[Mapping[str, Any]], keep: Keep) -> list[ProgramCall]:
        said = keep(lambda posts, **_: [len(post.text) for post in posts])
        return [self._call(post) for post, length in zip(posts, said, strict=True) if length]

    def _call(self, post: Post) -> ProgramCall:
        return ProgramCall(post, self.extract.signature, self.extract.demos, post_inputs(post))


def test_rows_of_an_external_program():
    program = NamesOnly(scripted_lm({}))
    lessons = MRSI(answers=True).lessons([CHAIN], program)
    rows = program_rows(program, lessons, {"1": POST}, program.adapter(), [])
    assert [row["content"][0]["text"] for row in rows[0]["completion"]] == [
        '{"mentions":[{"span":"Ana","type":"PER"}]}'
    ]
    assert [call.post.id for call in program.rollout_calls([POST], [], lambda answer: answer([POST]))] == ["1"]


def test_calls_of_an_external_program_are_answered_once(tmp_path: Path):
    run = RunDirectory(tmp_path, {}, writes=True)
    with run:
        compilation: Any = SimpleNamespace(
            run=run, launch=ProcessGroup(), progress=False, demos=[], _last=NamesOnly(scripted_lm({}))
        )
        calls = [Compilation._calls(compilation, [POST, POST]) for _ in range(2)]
    assert [[call.post.id for call in found] for found in calls] == [["1", "1"]] * 2
    assert run.record("calls") == {"1": len(POST.text)}


@pytest.mark.parametrize("kind", [GMNER, StagedGMNER, NamesOnly])
def test_mcr_accepts_every_trainable_program(kind: type[GroundingProgram]):
    program = kind(scripted_lm({}))
    assert isinstance(program, Trainable)
    with pytest.raises(InputError, match="training set is empty"):  # which is checked after the program
        MCR(progress=False).compile(program, trainset=[])


def test_mcr_refuses_another_module():
    with pytest.raises(InputError, match="MCR cannot compile this program"):
        MCR(progress=False).compile(dspy.Predict("text -> answer"), trainset=[POST])


def test_demonstrations_are_those_of_the_whole_answer():
    one, staged = GMNER(scripted_lm({})), StagedGMNER(scripted_lm({}))
    for program in (one, staged):
        program.set_demonstrations([{"text": "a"}])
    assert (one.demonstrations, one.answer.demos) == ([{"text": "a"}], [{"text": "a"}])
    assert (staged.demonstrations, staged.extract.demos) == ([], [])
