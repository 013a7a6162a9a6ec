"""The arms of the paper's experiments, under the paper's names: how the model is asked, and how it is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.styles import TEMPLATES, plain
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.presets import preset
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, Reward
from gmner.programs.gmner import GMNER
from gmner.signatures.schema import Limits
from gmner.signatures.tasks import GroundEntities

_ONE_STYLE = "stepwise"
_SMALL_STEPS = (90, 6)
"""Optimizer steps of MRSI and CVO in small."""


@dataclass(frozen=True, slots=True)
class Base:
    """The settings that all trained arms share.

    Attributes:
        preset: Name of a preset.
        small: Train the embedded model for a few steps.
        steps: Optimizer steps of MRSI and of CVO; None: those of the preset, or in small `_SMALL_STEPS`.
    """

    preset: str = "qwen2.5-vl-7b"
    small: bool = False
    steps: tuple[int, int] | None = None

    @property
    def mrsi(self) -> MRSI:
        """MRSI as in the paper: two chains per post in all styles, and no answers without a chain."""
        mrsi = self._optimizer().mrsi
        assert mrsi is not None
        mrsi = dataclasses.replace(mrsi, styles=dict(TEMPLATES), per_post=2, answers=False)
        if self.small:  # small batches learn more in the same time
            mrsi = dataclasses.replace(mrsi, batch=8, max_steps=_SMALL_STEPS[0])
        return mrsi if self.steps is None else dataclasses.replace(mrsi, max_steps=self.steps[0])

    @property
    def cvo(self) -> CVO:
        """CVO with the five rewards."""
        cvo = self._optimizer().cvo
        assert cvo is not None
        if self.small:  # fewer answers, to save time
            cvo = dataclasses.replace(
                cvo, prompts=4, generations=4, max_completion_length=192, max_steps=_SMALL_STEPS[1]
            )
        return cvo if self.steps is None else dataclasses.replace(cvo, max_steps=self.steps[1])

    def _optimizer(self) -> MCR:
        return preset("default" if self.small else self.preset)


Build = Callable[[Base, int], MCR]
"""The settings of an arm, from those that all share and the seed."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm.

    Attributes:
        name: The name in the paper.
        build: The settings of its training; None: the model is asked as it is.
        start: The arm whose program is trained on; empty: the model as it is.
        ask: Changes the program before it is trained or asked.
        ours: What of it is our choice, because the paper does not say it.
    """

    name: str
    build: Build | None = None
    start: str = ""
    ask: Callable[[GMNER], GMNER] = lambda program: program
    ours: str = ""


def without_reasoning(program: GMNER) -> GMNER:
    """The same program with answers without reasoning."""
    direct = program.deepcopy()
    direct.limits = Limits(reasoning=0, entities=program.limits.entities)
    return direct


def without_instruction(program: GMNER) -> GMNER:
    """The same program with the first sentence of its instructions: nothing about the constraints or the answer."""
    bare = program.deepcopy()
    first = GroundEntities.instructions.partition("\n")[0]
    bare.answer.signature = bare.answer.signature.with_instructions(first)
    return bare


def _mcr(seed: int, *, mrsi: MRSI | None = None, cvo: CVO | None = None) -> MCR:
    """Both stages use all posts; no post is held out."""
    return MCR(mrsi=mrsi, cvo=cvo, seed=seed, holdout=0)


def _three_examples(base: Base, seed: int) -> MCR:
    examples = Demonstrations(count=3)
    return _mcr(seed, mrsi=dataclasses.replace(base.mrsi, tuning="none", demonstrations=examples))


def _sft(base: Base, seed: int) -> MCR:
    return _mcr(seed, mrsi=dataclasses.replace(base.mrsi, styles={"plain": plain}, per_post=1, answers=False))


def _injected(base: Base, seed: int) -> MCR:
    return _mcr(seed, mrsi=base.mrsi)


def _optimized(base: Base, seed: int) -> MCR:
    return _mcr(seed, cvo=base.cvo)


def _one_style(base: Base, seed: int) -> MCR:
    return _mcr(seed, mrsi=dataclasses.replace(base.mrsi, styles={_ONE_STYLE: TEMPLATES[_ONE_STYLE]}, per_post=1))


def rewarded(sigma: float = 0.5, **weights: float) -> Build:
    """CVO with another sigma, or with other weights of some rewards."""

    def build(base: Base, seed: int) -> MCR:
        rewards = [(Reward(name, sigma=sigma), weights.get(name, value)) for name, value in DEFAULT_WEIGHTS.items()]
        return _mcr(seed, cvo=dataclasses.replace(base.cvo, rewards=rewards))

    return build


DIRECT = Arm("direct prompting", ask=without_reasoning, ours="an answer with empty reasoning")
COT = Arm("CoT", ours="the instruction asks for reasoning before the answer")
COT_3 = Arm("CoT, 3 examples", _three_examples, ours="examples with chains, which cover shown, absent and mixed posts")
SFT = Arm("SFT", _sft, ours="answers alone, on the same posts as MRSI and with its settings")
NO_CVO = Arm("w/o CVO", _injected, ours="MRSI alone")
MCR_ARM = Arm("MCR", _optimized, NO_CVO.name, ours="CVO continues from MRSI, on the same posts")
NO_MRSI = Arm("w/o MRSI", _optimized, ours="CVO from the model as it is")
ONE_STYLE = Arm("w/o diverse styles, MRSI", _one_style, ours=f"chains in the style {_ONE_STYLE}")
NO_STYLES = Arm("w/o diverse styles", _optimized, ONE_STYLE.name, ours=f"chains in the style {_ONE_STYLE}")
BARE = Arm("w/o instruction, MRSI", _injected, ask=without_instruction, ours="the first sentence of the instruction")
NO_INSTRUCTION = Arm("w/o instruction", _optimized, BARE.name, ours="the first sentence of the instruction")

ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (DIRECT, COT, COT_3, SFT, NO_CVO, MCR_ARM, NO_MRSI, ONE_STYLE, NO_STYLES, BARE, NO_INSTRUCTION)
}
"""The arms by name."""
