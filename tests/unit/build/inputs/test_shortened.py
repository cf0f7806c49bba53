"""The copy of a Containerfile without what an earlier build has done.

That images are the same is tested with engines (tests/integration/test_build_steps.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.shortened import Shortened, images_made, shortened
from tests.stepping import Project, new_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def cut(project: Project, text: str, *known: str) -> Shortened:
    """Give the copy where the images are there that some instructions came to."""
    project.text = text
    stages = project.stages()
    steps = [step for stage in stages for step in stage.steps]
    assert all(step.key for step in steps)
    images = {step.key: "id" for step in steps if any(str(each) in known for each in step.written)}
    return shortened(project.copy(), None, {}, stages, images.get)


INNER = "FROM base AS a\nARG V=1\nCOPY src /s\nRUN one\nCOPY go.mod /g\nRUN two\n"
LAST = "FROM base\nCOPY --from=a / /\nCOPY main.txt /\n"
PUBLISHED = "FROM base\nARG V=1\nCOPY src /s\nRUN one\nCOPY go.mod /g\n"


@pytest.mark.parametrize(
    ("text", "known", "left"),
    [
        # What others copy from goes on where it was, and its arguments are named once more.
        (
            f"{INNER}{LAST}",
            ["RUN one"],
            f"FROM podbuild.stage.0 AS a\nARG V=1\nCOPY go.mod /g\nRUN two\n{LAST}",
        ),
        (f"{INNER}{LAST}", ["RUN one", "RUN two"], f"FROM podbuild.stage.0 AS a\n{LAST}"),
        (
            f"{INNER}{LAST}",
            ["RUN two", "COPY --from=a / /"],
            "FROM podbuild.stage.0 AS a\nFROM podbuild.stage.1\nCOPY main.txt /\n",
        ),
        (f"{INNER.replace('V=1', 'V=$BASE')}{LAST}", ["RUN one"], None),
        # The target keeps a step of its own.
        (
            f"{INNER}{LAST}",
            ["COPY --from=a / /", "COPY main.txt /"],
            f"{INNER}FROM podbuild.stage.1\nCOPY main.txt /\n",
        ),
        # In the history of what is published, RUN and ARG name the arguments before them.
        (PUBLISHED, ["RUN one"], "FROM podbuild.stage.0\nCOPY go.mod /g\n"),
        (f"{PUBLISHED}RUN two\n", ["RUN one"], None),
        (f"{PUBLISHED}ARG W\n", ["RUN one"], None),
        (f"{PUBLISHED}LABEL v=$BASE\n", ["RUN one"], None),
        (
            f"{PUBLISHED.replace('ARG V=1', 'ENV V=1')}RUN two\n",
            ["RUN one"],
            "FROM podbuild.stage.0\nCOPY go.mod /g\nRUN two\n",
        ),
        # Engines hand arguments on to stages that start from another.
        ("FROM base AS a\nARG V=1\nRUN one\nFROM a\nRUN two\n", ["RUN one"], None),
        (
            "FROM base AS a\nENV V=1\nRUN one\nFROM a\nRUN two\n",
            ["RUN one"],
            "FROM podbuild.stage.0 AS a\nFROM a\nRUN two\n",
        ),
        (
            "FROM base AS a\nARG V=1\nRUN one\nFROM a\nRUN two\nCOPY src /\n",
            ["RUN one", "RUN two"],
            "FROM podbuild.stage.0 AS a\nFROM podbuild.stage.1\nCOPY src /\n",
        ),
        # ENTRYPOINT takes a CMD of its base away; a SHELL counts to its stage's end.
        ("FROM base\nCMD a\nRUN one\nENTRYPOINT b\n", ["RUN one"], None),
        (
            "FROM base\nENTRYPOINT b\nRUN one\nCMD a\n",
            ["RUN one"],
            "FROM podbuild.stage.0\nCMD a\n",
        ),
        ('FROM base\nSHELL ["/sh"]\nRUN one\nRUN two\n', ["RUN one"], None),
        # Not worth an image: what takes no start of the engine but one.
        ("FROM base\nENV V=1\nCOPY src /\n", ["ENV V=1"], None),
        # All lines of an instruction go.
        (
            "FROM base \\\n  AS a\nRUN <<E\none\nE\nCOPY src \\\n /\nRUN two\n",
            ["COPY src  /"],
            "FROM podbuild.stage.0 AS a\nRUN two\n",
        ),
    ],
)
def test_stages_go_on_where_that_changes_nothing(
    project: Project, text: str, known: list[str], left: str | None
) -> None:
    found = cut(project, text, *known)
    lines = [line for line in found.text.splitlines() if line and "podbuild_stage_" not in line]
    whole = cut(project, text)
    unchanged = [line for line in whole.text.splitlines() if line and "podbuild_stage_" not in line]
    assert "\n".join(lines) == ("\n".join(unchanged) if left is None else left.strip())
    assert bool(found.cuts) == (left is not None)
    assert not whole.cuts


def test_what_follows_keeps_its_lines_and_what_is_done_is_told(project: Project) -> None:
    found = cut(project, f"{INNER}{LAST}", "RUN two", "COPY --from=a / /")
    assert found.text.splitlines().index("COPY main.txt /") == 8
    assert [each.line for each in found.done] == [2, 3, 4, 5, 6, 8]
    assert {*found.images.values()} == {"id"}


def test_what_only_done_steps_took_from_is_done_too(project: Project) -> None:
    found = cut(project, f"{INNER}{LAST}", "COPY --from=a / /")
    assert [each.line for each in found.done] == [2, 3, 4, 5, 6, 8]
    assert found.skipped == {1: 1}
    assert not found.marks


def test_a_stage_that_no_history_shows_ends_with_a_mark(project: Project) -> None:
    text = f"FROM base AS b\nRUN zero\n{INNER.replace('base', 'b')}{LAST}"
    found = cut(project, text)
    assert [*found.marks] == [1]
    (line,) = (line for line in found.text.splitlines() if "podbuild_stage_" in line)
    assert line == f"ARG {found.marks[1]}=1"
    assert found.more == (8,)
    assert cut(project, text, "RUN two").marks == {}


HISTORY = {
    "2" * 64: ("base",),
    "end": ("base", "#(nop) COPY x ", "#(nop) COPY y "),
    "a": (
        "base",
        "#(nop) ARG V ",
        "#(nop) COPY s ",
        "one",
        "#(nop) COPY g ",
        "two",
        "#(nop) ARG m ",
    ),
}


def made(project: Project, changed: dict[str, tuple[str, ...]], *known: str) -> set[str]:
    """Give the entries with which images were found that steps came to."""
    histories = {**HISTORY, "id": HISTORY["a"][:4], **changed}
    found = cut(project, f"{INNER}{LAST}", *known)
    ends = {0: "a", 1: "end"}
    return {*images_made(found, ends, histories.get, lambda of, at: f"{of} {at}").values()}


def test_images_of_steps_are_found_by_the_history_of_what_they_became(project: Project) -> None:
    assert made(project, {}) == {"a 2", "a 3", "a 4", "a 5", "a 6", "end 2", "end 3"}
    again = (*HISTORY["a"][:4], "#(nop) ARG V ", *HISTORY["a"][4:])
    assert made(project, {"a": again}, "RUN one") == {"a 6", "a 7", "end 2", "end 3"}


@pytest.mark.parametrize(
    "history",
    [
        HISTORY["a"][1:],
        (*HISTORY["a"], "#(nop) LABEL x "),
        (*HISTORY["a"][:3], "#(nop) ENV x ", *HISTORY["a"][4:]),
        (*HISTORY["a"][:2], "run", *HISTORY["a"][3:]),
    ],
)
def test_a_history_with_other_steps_tells_nothing(
    project: Project, history: tuple[str, ...]
) -> None:
    assert made(project, {"a": history}) == {"end 2", "end 3"}


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("RUN --mount=target=/m a", "RUN --mount=target=/m,consistency=KEY a"),
        (
            "RUN --mount=type=bind,source=src,target=/m a",
            "RUN --mount=source=src,target=/m,consistency=KEY a",
        ),
        ("RUN --mount=target=/m \\\n  a", "RUN --mount=target=/m,consistency=KEY a"),
        (
            "RUN --mount=type=cache,target=/c --mount=from=s,target=/m <<E\na\nE",
            "RUN --mount=type=cache,target=/c --mount=from=s,target=/m,consistency=KEY <<E\na\nE",
        ),
        (
            "RUN --mount=source=src,target=/m --mount=type=bind,from=base,target=/b a",
            "RUN --mount=source=src,target=/m,consistency=KEY --mount=from=base,target=/b a",
        ),
        ("RUN --mount=type=cache,target=/c a", "RUN --mount=type=cache,target=/c a"),
        (
            "ENV V=1\nARG V=2\nRUN --mount=target=/m a",
            "ENV V=1\nARG V=2\nENV V=2\nRUN --mount=target=/m,consistency=KEY a\nENV V=1",
        ),
    ],
)
def test_a_run_says_what_its_mounts_show(project: Project, written: str, given: str) -> None:
    def text() -> str:
        project.text = f"FROM base AS s\nCOPY go.mod /\nFROM base\n{written}\n"
        found = shortened(project.copy(), None, {}, project.stages(), None)
        assert not found.uncached
        return found.text.partition("FROM base\n")[2]

    def key(text: str) -> str:
        return text.partition("consistency=")[2][:32]

    found = text()
    assert found == f"{given}\n".replace("KEY", key(found) or "KEY")
    assert text() == found
    for name in ("src/one", "go.mod"):
        (project.folder / "web" / name).write_text("edited")
    assert (key(text()) != key(found)) == bool(key(found))


@pytest.mark.parametrize(
    ("text", "uncached"),
    [
        ("FROM base\nRUN --mount=target=/m a\n", False),
        ("FROM base\nRUN --mount=type=cache,target=/m a\n", False),
        ("FROM base AS s\nVOLUME /v\nFROM base\nRUN --mount=from=s,target=/m a\n", True),
        ("FROM base AS s\nRUN a\nFROM base\nRUN --mount=type=cache,from=s,target=/m a\n", True),
        ("FROM base\nRUN --mount=from=nothing.example/pinned,target=/m a\n", True),
    ],
)
def test_what_mounts_show_that_can_not_be_told_is_built_without_the_cache(
    project: Project, text: str, *, uncached: bool
) -> None:
    project.text = text
    assert shortened(project.copy(), None, {}, project.stages(), None).uncached == uncached
