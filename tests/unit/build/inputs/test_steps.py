"""What steps rest on: a step's key changes with that and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stepping import PIN, Project, new_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


TOOLS = ("ARG V=1", "COPY tool.txt /t/", "RUN make tool")
BUILD = (
    "WORKDIR /src",
    "COPY go.mod /src/",
    "RUN --mount=type=bind,source=deps,target=/d fetch",
    "COPY src /src/",
    "RUN --mount=from=tools,source=/t,target=/t build",
)
LAST = ("ENV A=1", "COPY --from=build /src/out /", "COPY <<EOF main.txt /etc/", 'CMD ["/out"]')

Change = Callable[[Project], object]


def edited(name: str) -> Change:
    return lambda project: (project.folder / "web" / name).write_text("edited")


def replaced(old: str, new: str) -> Change:
    def change(project: Project) -> None:
        assert old in project.text
        project.text = project.text.replace(old, new)

    return change


def given(name: str, value: object) -> Change:
    return lambda project: setattr(project, name, value)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (edited("README"), ()),
        (edited("main.txt"), LAST[2:]),
        (edited("src/one"), (*BUILD[3:], *LAST[1:])),
        (edited("src/two"), (*BUILD[3:], *LAST[1:])),
        (edited("deps/one"), (*BUILD[2:], *LAST[1:])),
        (edited("tool.txt"), (*TOOLS[1:], *BUILD[4:], *LAST[1:])),
        (lambda it: (it.folder / "web/go.mod").chmod(0o755), (*BUILD[1:], *LAST[1:])),
        (given("more", "build-args = { V = '2' }\n"), (*TOOLS, *BUILD[4:], *LAST[1:])),
        (given("more", "build-args = { OTHER = '2' }\n"), ()),
        (given("more", 'network = "none"\n'), (*TOOLS, *BUILD, *LAST)),
        (given("more", 'labels = { a = "b" }\n'), ()),
        (given("base", "3" * 64), (*TOOLS, *BUILD, *LAST[1:])),
        (given("pin", PIN.replace("1", "4")), LAST),
        (replaced("written\n", "otherwise\n"), LAST[2:]),
        (replaced("FROM base AS tools", "# a line more\nFROM base AS tools"), ()),
        (replaced("FROM debian", "FROM base AS unused\nRUN x\nFROM debian"), ()),
    ],
)
def test_a_key_changes_with_what_its_step_rests_on(
    project: Project, change: Change, changed: tuple[str, ...]
) -> None:
    before = project.keys()
    assert {*before} == {*TOOLS, *BUILD, *LAST}
    assert all(before.values())
    change(project)
    after = project.keys()
    assert {name for name in before if before[name] != after.get(name)} == {*changed}


def test_layers_of_a_stage_are_others_where_they_reach_the_image(project: Project) -> None:
    project.text = "FROM base AS a\nRUN one\nFROM base AS b\nRUN one\nFROM a\nCOPY --from=b / /\n"
    reaching, inner = (stage.steps[0].key for stage in project.stages()[:2])
    assert reaching
    assert inner
    assert reaching != inner


@pytest.mark.parametrize(
    "line",
    [
        "ADD https://example.org/a /",
        "VOLUME /v",
        "ONBUILD RUN true",
        "COPY --from=unknown.example/x:1 / /",  # not pinned
        "RUN --mount=from=unknown.example/x:1,target=/x true",
    ],
)
def test_what_steps_rest_on_that_can_not_be_told_has_no_key(project: Project, line: str) -> None:
    project.text = f"FROM base\nRUN one\n{line}\nRUN two\n"
    (stage,) = project.stages()
    assert [bool(step.key) for step in stage.steps] == [True, False, False]


def test_stages_with_triggers_of_their_base_have_no_keys(project: Project) -> None:
    project.triggers = ("RUN something",)
    project.text = "FROM debian AS a\nRUN one\nFROM base\nRUN two\nCOPY --from=a / /\n"
    first, second = project.stages()
    assert [step.key for step in first.steps] == [""]
    assert [bool(step.key) for step in second.steps] == [True, False]


def test_git_may_change_without_a_word(project: Project) -> None:
    (project.folder / "web/.git").mkdir()
    (project.folder / "web/.git/HEAD").write_text("ref")
    (project.folder / "web/.dockerignore").write_text("!.git\n")
    project.text = "FROM base\nRUN one\nCOPY . /\n"
    (stage,) = project.stages()
    assert [bool(step.key) for step in stage.steps] == [True, False]
