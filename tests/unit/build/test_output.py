"""What an engine's output says of its steps."""

from __future__ import annotations

import re
from collections.abc import Iterator

from podbuild.build.inputs.instructions import Instruction, read_instructions
from podbuild.build.model import StepTime
from podbuild.build.output import Output


class _Clock:
    """Goes on by one second whenever a line comes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _taken(*lines: str) -> Output:
    clock = _Clock()
    output = Output(write=lambda _: None, clock=clock)
    for line in lines:
        output.take(line)
        clock.now += 1
    return output


def _by_step(text: str) -> Iterator[tuple[int, Instruction]]:
    _, instructions = read_instructions(text, where="Containerfile")
    yield from enumerate(instructions, 1)


def test_a_step_lasts_until_its_last_hash_and_a_cached_one_is_marked() -> None:
    output = _taken(
        "STEP 1/3: FROM scratch",
        "STEP 2/3: RUN make",
        "--> 0123456789ab",  # printed by make
        "still making",
        "--> ba9876543210",
        "the engine is at work",
        "STEP 3/3: COPY . /",
        "--> Cache pulled from remote 127.0.0.1/cache:ab",
        "--> Using cache 0123456789ab",
        "--> 0123456789ab",
        "COMMIT x",
    )
    steps = dict(_by_step("FROM scratch\nRUN make\nCOPY . /\n"))
    assert output.times(lambda found: steps[int(found["step"])]) == (
        StepTime(line=1, text="FROM scratch", seconds=1.0),
        StepTime(line=2, text="RUN make", seconds=3.0),
        StepTime(line=3, text="COPY . /", seconds=3.0, cached=True, pulled=True),
    )
    assert (output.steps, output.cached) == (3, 1)


def test_without_layers_the_next_step_or_commit_ends_a_step() -> None:
    output = _taken("[2/2] STEP 1/2: FROM a", "[2/2] STEP 2/2: RUN <<EOF (x...)", "[2/2] COMMIT y")
    assert [each.seconds for each in output.times(lambda _: None)] == [1.0, 1.0]
    assert output.last is not None
    assert output.last["stage"] == "2"


def test_steps_of_one_instruction_are_one_and_those_of_no_file_keep_the_engines_words() -> None:
    output = _taken(
        "STEP 1/3: COPY a /", "--> aaaaaaaaaaaa", "STEP 2/3: RUN b", "STEP 3/3: RUN trigger", "end"
    )
    ((_, written),) = _by_step("COPY --exclude=x . /\n")

    def instruction(found: re.Match[str]) -> Instruction | None:
        return written if int(found["step"]) < 3 else None

    assert output.times(instruction) == (
        StepTime(line=1, text="COPY --exclude=x . /", seconds=2.0),
        StepTime(line=None, text="RUN trigger", seconds=2.0),
    )


def test_what_a_failed_attempt_counted_is_forgotten() -> None:
    output = _taken("STEP 1/2: FROM a", "--> Using cache 0123456789ab")
    output.begin()
    assert (output.steps, output.cached, output.last) == (0, 0, None)
