"""What the order of steps costs a commit, and which step could stand higher."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.order import Churn, OrderQuestion, StepOrder, order_of

HERE = Path("/repository/app")
APT = "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*"


def order(
    context: Path,
    text: str,
    changed: tuple[set[str], ...],
    seconds: dict[str, float],
    changing: frozenset[str] = frozenset(),
) -> StepOrder:
    """Ask of a Containerfile; `changed` are names in the context, a set for each commit."""
    return order_of(
        OrderQuestion(
            containerfile=read_containerfile(text),
            target=None,
            variables={},
            churn=Churn(
                context=context,
                matcher=Matcher(("docs",)),
                changes=tuple(frozenset(context / name for name in each) for each in changed),
            ),
            seconds=seconds,
            changing=changing,
        )
    )


SOURCES = ({"src/a.py"}, {"src/b.py", "docs/x"}, {"docs/x"}, {"README.md"})  # 4 commits


def test_a_step_runs_again_for_what_it_and_those_before_it_take() -> None:
    text = "FROM a\nRUN one\nCOPY src /src\nRUN two\nCOPY *.md /\nRUN three\n"
    found = order(HERE, text, SOURCES, {"RUN one": 100, "RUN two": 10, "RUN three": 8})
    assert found.expected == pytest.approx(10 * 0.5 + 8 * 0.75)
    assert found.whole == 118
    assert not found.advice  # nobody knows what these need


def test_what_a_stage_copies_from_counts_and_what_is_ignored_does_not() -> None:
    text = "FROM a AS x\nCOPY src /src\nFROM b\nCOPY docs /docs\nCOPY --from=x /y /y\nRUN z\n"
    assert order(HERE, text, SOURCES, {"RUN z": 4}).expected == pytest.approx(2.0)
    bound = "FROM a\nRUN --mount=type=bind,source=src,target=/s z\n"
    step = "RUN --mount=type=bind,source=src,target=/s z"
    assert order(HERE, bound, SOURCES, {step: 4}).expected == pytest.approx(2.0)


def test_an_argument_that_each_commit_changes_counts_for_all_of_them() -> None:
    text = "FROM a\nARG VERSION\nRUN z\n"
    assert order(HERE, text, SOURCES, {"RUN z": 4}, frozenset({"VERSION"})).expected == 4


def test_packages_of_the_system_could_stand_above_what_they_do_not_need() -> None:
    text = f"FROM a\nCOPY src /src\n{APT}\nRUN make\n"
    (advice,) = order(HERE, text, SOURCES, {APT: 40}).advice
    assert (advice.run.line, advice.above.line, advice.first) == (3, 2, ())
    assert (advice.share, advice.seconds) == (0.5, 20.0)


@pytest.mark.parametrize(
    "run",
    [
        "RUN apt-get install -y /src/x.deb",
        "RUN apt-get install -y ./x.deb",
        "RUN apt-get install -y $(cat /src/list)",
        "RUN xargs apt-get install < /src/list",
        "RUN /src/setup.sh && apt-get install -y x",
        "RUN make",
    ],
)
def test_a_step_that_may_need_what_was_copied_stays(run: str) -> None:
    assert not order(HERE, f"FROM a\nCOPY src /src\n{run}\n", SOURCES, {run: 40}).advice


def test_an_installation_of_a_language_is_told_the_files_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "package-lock.json").write_text("{}")
    text = "FROM a\nCOPY . .\nRUN npm ci\n"
    changed = (*SOURCES, {"package.json"})
    (advice,) = order(tmp_path, text, changed, {"RUN npm ci": 50}).advice
    assert advice.first == ("package.json", "package-lock.json")
    assert advice.share == pytest.approx(4 / 5 - 1 / 5)


def test_what_saves_less_than_five_seconds_is_not_worth_a_word() -> None:
    text = f"FROM a\nCOPY src /src\n{APT}\n"
    assert not order(HERE, text, SOURCES, {APT: 9}).advice
    (advice,) = order(HERE, text, SOURCES, {}).advice  # no build has told
    assert advice.seconds is None
