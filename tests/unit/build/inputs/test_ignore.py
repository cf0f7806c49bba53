from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.build.inputs.ignore import (
    Matcher,
    applicable_ignore_file,
    can_write,
    kept_out,
    own_patterns,
    parse_ignore,
    write_ignore,
)
from podbuild.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("", ()),
        ("# comment\n\n  \na", ("a",)),
        (" # no comment", ("# no comment",)),
        ("/a/", ("a",)),
        ("./a/../b", ("b",)),
        ("! c ", ("!c",)),
        ("!/c/d/", ("!c/d",)),
        ("\ufeffa\r\nb", ("a", "b")),
        (" # a\n\u00a0b\u3000\n", ("# a", "b")),
        ("\x1ca\u2028b", ("\x1ca\u2028b",)),
        ("//a", ("a",)),
        ("..\n../a", ("..", "../a")),
    ],
)
def test_lines_become_clean_patterns(text: str, patterns: tuple[str, ...]) -> None:
    assert parse_ignore(text) == patterns


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "b/a", False),
        ("*", ".hidden", True),
        ("*.txt", "x.txt", True),
        ("*.txt", "d/x.txt", False),
        ("*/x.txt", "d/x.txt", True),
        ("*/x.txt", "d/e/x.txt", False),
        ("**/x.txt", "x.txt", True),
        ("**/x.txt", "d/e/x.txt", True),
        ("d/**", "d/e/x", True),
        ("d/**", "d", False),
        ("d/**/x", "d/x", True),
        ("d/**/x", "d/e/f/x", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].c", "a.c", True),
        ("[^ab].c", "a.c", False),
        ("a.c", "abc", False),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("a !a/keep", "a/keep", False),
        ("a !a/keep", "a/other", True),
        ("!a a", "a", True),
        ("* !src src/tmp", "src/x", False),
        ("* !src src/tmp", "src/tmp/x", True),
        ("* !src src/tmp", "other", True),
        (".git !.git", ".git", False),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: str, path: str, excluded: bool) -> None:
    assert Matcher(tuple(patterns.split())).excludes(path) is excluded


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("!", 1),
        ("a\n! ", 2),
        ("# ok\n\n[", 3),
        ("a[b", 1),
        ("[]", 1),
        ("[-a]", 1),
        ("[a-]", 1),
        ("[z-a]", 1),
        ("a\\", 1),
        (r"\q", 1),
        ("*{2}", 1),
        (f"{'a' * 70000}", 1),
    ],
)
def test_what_docker_refuses_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=f"web/.dockerignore:{line}: bad pattern"):
        parse_ignore(text, where="web/.dockerignore")


def judged() -> Iterator[tuple[str, Sequence[str], Sequence[str] | None]]:
    """Give what BuildKit (Docker 28.5.2) sent of a context: ignore file, files, files sent."""
    record = json.loads((Path(__file__).parents[3] / "data" / "ignore.json").read_text())
    for case in record["cases"]:
        yield case["ignore"], case["files"] or record["files"], case["sent"]


def test_what_is_left_out_is_what_buildkit_leaves_out() -> None:
    """270 ignore files, 150 of them random, over random trees; None: BuildKit refuses the file."""
    for text, files, sent in judged():
        try:
            matcher = Matcher(parse_ignore(text))
        except ConfigError:
            assert sent is None or re.search(r"\\[x1pQ]", text), text
            continue
        if sent is not None:
            assert [name for name in files if not matcher.excludes(name)] == sent, text


@given(st.lists(st.text(min_size=1), max_size=4))
def test_an_engines_ignore_file_leaves_out_just_the_names_in_it(names: list[str]) -> None:
    paths = {path for name in names if (path := name.strip("/")) and "//" not in path}
    clean = {path for path in paths if not {".", ".."} & {*path.split("/")}}
    if can_write(clean):
        matcher = Matcher(parse_ignore(write_ignore(sorted(clean))))
        assert all(matcher.excludes(path) for path in clean)
        assert not any(matcher.excludes(f"x{path}x") for path in clean)


@pytest.mark.parametrize("folder", ["", "dist", "out/d[x]*"])
def test_the_journal_is_left_out_while_it_is_written(folder: str) -> None:
    """The run that builds writes it at any moment, under a name that is made up anew."""
    matcher = Matcher(parse_ignore(write_ignore((), [folder])))
    at = f"{folder}/" if folder else ""
    assert matcher.excludes(f"{at}.state.json.4ec7cf0d38660dce.part")
    assert not matcher.excludes(f"{at}.state.json.part")
    assert not matcher.excludes(f"{at}state.json.4ec7cf0d38660dce.part")
    assert not matcher.excludes(f"{at}deeper/.state.json.4ec7cf0d38660dce.part")


@pytest.mark.parametrize(
    ("patterns", "folder", "walked"),
    [
        ("a", "a", False),
        ("a !a/keep", "a", True),
        ("a !b/keep", "a", False),
        ("a !**/keep", "a", True),
        ("a !a/b/c", "a/b", True),
        ("a !a/b/c", "a/x", False),
    ],
)
def test_an_excluded_folder_is_walked_only_for_what_may_come_back(
    patterns: str, folder: str, walked: bool
) -> None:
    assert Matcher(tuple(patterns.split())).may_include_below(folder) is walked


NAMES = st.sampled_from(["a", "b", "ab", "x.txt", ".git"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PATTERNS = st.lists(
    st.tuples(
        st.sampled_from(["", "!"]),
        st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?", "x.txt", ".git"]), min_size=1)
        .filter(lambda parts: len(parts) < 4)
        .map("/".join),
    ).map("".join),
    max_size=4,
)


@given(PATTERNS, PATHS)
def test_a_folder_is_walked_where_a_pattern_brings_something_back(
    patterns: list[str], path: str
) -> None:
    matcher = Matcher(tuple(patterns))
    parents = [path[:at] for at, character in enumerate(path) if character == "/"]
    skipped = any(
        matcher.excludes(parent) and not matcher.may_include_below(parent) for parent in parents
    )
    back = [text for text in patterns if text.startswith("!")]
    assert not skipped or all(Matcher(("**", text)).excludes(path) for text in back)


def test_the_ignore_file_beside_the_containerfile_comes_first(tmp_path: Path) -> None:
    containerfile = tmp_path / "web" / "Containerfile"
    containerfile.parent.mkdir()
    order = [
        tmp_path / ".dockerignore",
        tmp_path / ".containerignore",
        containerfile.with_name("Containerfile.containerignore"),
        containerfile.with_name("Containerfile.dockerignore"),
    ]
    assert applicable_ignore_file(tmp_path, containerfile, None) is None
    for path in order:
        path.touch()
        assert applicable_ignore_file(tmp_path, containerfile, None) == path
    given_one = tmp_path / "given"
    with pytest.raises(ConfigError, match="no such ignore file"):
        applicable_ignore_file(tmp_path, containerfile, given_one)
    given_one.touch()
    assert applicable_ignore_file(tmp_path, containerfile, given_one) == given_one


def test_podbuilds_own_names_are_left_out_of_dist_and_nothing_else_of_it() -> None:
    matcher = Matcher(own_patterns(Path("/p"), Path("/p/dist"), (Path("/p/dist/out/web"),)))
    assert matcher.excludes(".git")
    assert matcher.excludes("dist/staging/blobs/sha256/00")
    assert matcher.excludes("dist/state-1.2.3.json")
    assert matcher.excludes("dist/out/web/index.json")
    assert not matcher.excludes("dist")
    assert not matcher.excludes("dist/app.js")
    assert not matcher.excludes("dist/out/app.js")
    assert not matcher.excludes("plan.json")


def test_files_with_build_secrets_are_in_no_context() -> None:
    secrets = (Path("/p/keys/[npm].txt"), Path("/q/other"))
    matcher = Matcher(own_patterns(Path("/p"), Path("/p/dist"), (), secrets))
    assert matcher.excludes("keys/[npm].txt")
    assert not matcher.excludes("keys/n.txt")
    assert not matcher.excludes("other")


def test_entries_of_the_history_are_in_no_context() -> None:
    history = Path("/p/ci/history")
    matcher = Matcher(own_patterns(Path("/p"), Path("/p/dist"), history=history))
    assert matcher.excludes("ci/history/run-20260102T030405Z-01234567-ab12.json")
    assert matcher.excludes("ci/history/run-20260102T030405Z--ab12.json")
    assert matcher.excludes("ci/history/runs-202601.json")
    assert not matcher.excludes("ci/history/run-me.json")
    assert not matcher.excludes("ci/history")
    here = Matcher(own_patterns(history, Path("/p/dist"), history=history))
    assert here.excludes("runs-202601.json")


@pytest.mark.parametrize(
    ("text", "path", "excluded"),
    [
        ("*\n!dist\n", "dist/state.json", True),
        ("*\n!dist/**\n", "dist/staging/index.json", True),
        ("**\n!*\n", ".git/HEAD", True),
        ("*\n!dist\n", "dist/app.js", False),
        ("*\n!dist/logs\n", "dist/logs/mine", False),
        ("!.git\n", ".git/HEAD", False),
        ("!.git/HEAD\n", ".git/HEAD", False),
    ],
)
def test_only_a_line_that_names_podbuilds_own_file_sends_it(
    text: str, path: str, excluded: bool
) -> None:
    own, ignored = own_patterns(Path("/p"), Path("/p/dist")), parse_ignore(text)
    assert Matcher((*own, *ignored, *kept_out(own, ignored))).excludes(path) is excluded


def test_a_context_beside_dist_leaves_out_git_alone() -> None:
    assert own_patterns(Path("/p/web"), Path("/p/dist")) == (".git",)


def test_special_characters_of_the_output_folder_mean_themselves() -> None:
    matcher = Matcher(own_patterns(Path("/p"), Path("/p/d[x]*")))
    assert matcher.excludes("d[x]*/plan.json")
    assert not matcher.excludes("dx/plan.json")
