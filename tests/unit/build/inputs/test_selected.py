"""COPY's wildcards and --exclude as BuildKit (Docker 28.5.2) reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.reach import Wanted
from podbuild.build.inputs.rewrite import rewrite_containerfile
from podbuild.build.inputs.selected import selections
from podbuild.build.inputs.wanted import BaseFacts, selecting_in
from podbuild.errors import ConfigError

MADE = "COPY --from=podbuild.empty --chown=7 . .\nUSER 8"
FILES = ("d/a.md", "d/b.txt", "d/.env", "d/sub/c.md", "d/sub/.env", "r.md", "r.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ld").symlink_to("d")
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "sources", "copied"),
    [
        ("*.md", "d", ".env b.txt sub/.env sub/c.md"),
        ("d/*.md", "d", ".env a.md b.txt sub/.env sub/c.md"),
        ("**/*.md", "d", ".env b.txt sub/.env"),
        (".env", "d", "a.md b.txt sub/.env sub/c.md"),
        ("*.md", "r.*", "r.md r.txt"),
        ("*.md", "d/ r.txt", ".env b.txt sub/.env sub/c.md r.txt"),
        ("sub/*.md b.txt", "d/", ".env a.md sub/.env"),
        ("* !a.md", "d", "a.md"),
        ("a.md", "ld", ".env b.txt sub/.env sub/c.md"),
        ("/a.md", "d", ".env a.md b.txt sub/.env sub/c.md"),
        ("sub", "d", ".env a.md b.txt"),
        ("sub/", "d", ".env a.md b.txt"),
        ("*.md", "d/a.md d/b.txt", "a.md b.txt"),
    ],
)
def test_patterns_count_from_the_folder_that_is_copied(
    folder: Path, patterns: str, sources: str, copied: str
) -> None:
    wanted = Wanted(tuple(sources.split()), tuple(patterns.split()))
    taken = Contents().sent(folder, Matcher(()), (wanted,)).reach.entries.values()
    names = {each.name.removeprefix("d/") for each in taken if each.is_file}
    if sources == "d/a.md d/b.txt":
        names = {name.removeprefix("d/") for name in names}
    assert names == set(copied.split())


@pytest.mark.parametrize(
    ("written", "copies", "engine"),
    [
        ("--exclude=*.md --from=x /app /d/", "/app /0/app", "--exclude=0/app/*.md /0/app /d/"),
        ("--exclude=**/.env --from=x / /d/", "/ /0", "--exclude=0/**/.env /0 /d/"),
        ("--from=x --exclude=../a /app /d", "/app /0/app", "/0/app /d"),
        ('--exclude=.env --from=x ["a b/../a", "/d e"]', "", ""),
        ('--exclude=a --from=x ["up/l", "/d e"]', "/up/l /0/l", '--exclude=0/l/a ["/0/l", "/d e"]'),
        (
            "--exclude=.env --from=x /a /b/a /d/",
            "/a /0/a\n/b/a /1/a",
            "--exclude=0/a/.env --exclude=1/a/.env /0/a /1/a /d/",
        ),
    ],
)
def test_what_a_link_of_a_stage_may_lead_to_is_copied_first(
    folder: Path, written: str, copies: str, engine: str
) -> None:
    text = f"FROM scratch AS x\nFROM scratch\nCOPY {written}\n"
    if not copies:
        with pytest.raises(ConfigError, match="--exclude"):
            handed(folder, text)
        return
    first, *middle, second, copy = handed(folder, text).splitlines()
    assert (first, second) == ("FROM scratch AS x", "FROM scratch")
    copied = [f"COPY --from=x {each}" for each in copies.split("\n")]
    assert middle == ["FROM scratch AS podbuild.copy.3", *copied]
    assert copy == f"COPY --from=podbuild.copy.3 {engine}"


@pytest.mark.parametrize(
    ("trigger", "refused"),
    [
        ("COPY --exclude=.env d /d/", True),
        ("COPY d/**/*.md /d/", True),
        ("COPY */a.md /d/", True),
        ("COPY nothing* /d/", True),
        ("COPY r.* d/*.md /d/", False),
        ("COPY ld/sub d /d/", False),
    ],
)
def test_triggers_of_a_base_with_exclude_are_refused(
    folder: Path, trigger: str, refused: bool
) -> None:
    parsed = read_containerfile("FROM b\n", where="web/Containerfile")
    found = selecting_in(parsed, None, {}, (), lambda *_: BaseFacts(triggers=(trigger,)))
    contents = Contents()
    if not refused:
        assert not selections(found, lambda _, wanted: contents.taken(folder, Matcher(()), wanted))
        return
    with pytest.raises(ConfigError, match="web/Containerfile:1: an ONBUILD of the base copies"):
        selections(found, lambda _, wanted: contents.taken(folder, Matcher(()), wanted))


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ("", True),
        ("RUN --mount=from=X,target=/mnt true\n", False),
        ("COPY --from=0 /f /f\n", False),
    ],
)
@pytest.mark.parametrize(
    "trigger", ["COPY --from=x /f /g", "RUN --mount=type=bind,from=0,target=/m true"]
)
def test_a_trigger_takes_from_a_stage_that_is_built(trigger: str, more: str, refused: bool) -> None:
    parsed = read_containerfile(f"FROM a AS x\nFROM b\n{more}")

    def select() -> None:
        selecting_in(parsed, None, {}, (), lambda *_: BaseFacts(triggers=(trigger,)))

    if not refused:
        select()
        return
    with pytest.raises(ConfigError, match="Containerfile:2: an ONBUILD of b takes from the stage"):
        select()


def handed(folder: Path, text: str) -> str:
    parsed = read_containerfile(text, where="web/Containerfile")
    found = selecting_in(parsed, None, {}, (), lambda *_: BaseFacts())
    contents = Contents()
    patterns = selections(found, lambda _, wanted: contents.taken(folder, Matcher(()), wanted))
    return rewrite_containerfile(parsed, text, target=None, variables={}, selected=patterns).text


@pytest.mark.parametrize(
    ("written", "engine"),
    [
        ("COPY --exclude=*.md d /d/", "COPY --exclude=d/a.md d /d/"),
        ("COPY --exclude=*.go d /d/", "COPY d /d/"),
        (
            "COPY --exclude=**/.env \\\n  --link --exclude=a.md d /d/",
            "COPY --link --exclude=d/.env --exclude=d/a.md --exclude=d/sub/.env d /d/\n",
        ),
        (
            "COPY --exclude=* --exclude=!a.md d /d/",
            "COPY --exclude=d/.env --exclude=d/b.txt --exclude=d/sub d /d/",
        ),
        ("ARG P=a\nCOPY --exclude=$P.md d /d/", "ARG P=a\nCOPY --exclude=d/a.md d /d/"),
        ("ADD --exclude=sub ld /d/", "ADD --exclude=d/sub ld /d/"),
        (
            "COPY --exclude=a.md d d/sub d/a.md /d/",  # a file that is named is taken
            "COPY --exclude=d/a.md d /d/\nCOPY d/sub /d/\nCOPY d/a.md /d/",
        ),
        (
            "COPY --exclude=a.md \\\n d d/a.md /d/\nUSER 7\nWORKDIR /x\nUSER 8",
            "COPY --exclude=d/a.md d /d/\n\nCOPY d/a.md /d/\nUSER 7\nWORKDIR /x\n" + MADE,
        ),
        ("COPY **/*.md **/ ** /d/", "COPY d/a.md */ * /d/"),
        ('ADD ["d/**/*.md", "/d/**"]', 'ADD ["d/*/*.md", "/d/**"]'),
        ("COPY --from=a /**/x /d/", "COPY --from=a /*/x /d/"),
        ("COPY */sub /d/", "COPY d/sub /d/"),  # not ld/sub
        ("COPY ld/*.md r.* /d/", "COPY ld/*.md r.* /d/"),
        ("COPY ld/*/*.md [l]d/*.md r.* /d/", "COPY ld/*/*.md r.* /d/"),
        ("COPY nothing* r.* /d/", "COPY r.* /d/"),
        ("COPY --chown=1 nothing* /d/", "ARG podbuild_no_file"),
        ("COPY nothing* <<A /d/\nA", "COPY --from=podbuild.heredoc.2 A /d/\n"),
        ("COPY --chmod=+x d/a.md /d/", "COPY --chmod=0755 d/a.md /d/"),
        ("ARG M=go=u\nCOPY --chmod=$M d /d/", "ARG M=go=u\nCOPY --from=podbuild.mode.3 d /d/"),
        ("ADD --chmod=go-rwx --exclude=sub d /d/", "ADD --chmod=0600 --exclude=d/sub d /d/"),
        (
            'ADD --chmod=u-x --chown=7 ["d", "/d/"]',
            'COPY --chown=7 --from=podbuild.mode.2 ["d", "/d/"]',
        ),
        ("COPY --chmod=+x <<A /d/\nA", "COPY --from=podbuild.heredoc.2 --chmod=0755 A /d/\n"),
        ("COPY --from=a --chmod=a=rx /x /d/", "COPY --from=a --chmod=0555 /x /d/"),
        ("ADD no* https://e.test/x /d/", "ADD https://e.test/x /d/"),
        ('ADD no* "https://e.test/x" /d/', 'ADD "https://e.test/x" /d/'),
        ("ENV X=https://e.test\nADD no* $X/x /d/", "ENV X=https://e.test\nADD $X/x /d/"),
        (
            "ENV X=https://e.test\nADD --exclude=a.md $X/x d /d/",
            "ENV X=https://e.test\nADD --exclude=d/a.md $X/x d /d/",
        ),
        (
            "ADD --exclude=**/.env --exclude=/x --exclude=sub/ https://e.test/x.git#v1 /d/",
            "ADD --exclude=**/.env --exclude=sub --exclude=.git https://e.test/x.git#v1 /d/",
        ),
    ],
)
def test_the_engine_is_given_what_means_the_same_to_it(
    folder: Path, written: str, engine: str
) -> None:
    assert handed(folder, f"FROM scratch\n{written}\n").split("\n")[1:-1] == engine.split("\n")


@pytest.mark.parametrize(
    "instruction",
    [
        "COPY --exclude=![a] --from=x /app /d/",
        "COPY --exclude=a/**/b --from=x /app /d/",
        "COPY --exclude=a --from=x /app/* /d/",
        "COPY --exclude=a --from=$A /app /d/",
        "COPY --chmod=+x --from=a /app /d/",
        "COPY --chmod=u+s,go-r d /d/",
        "ADD --exclude=a.md https://e.test/x.git d /d/",
        "ADD --exclude=* --exclude=!a.md https://e.test/x.git /d/",
    ],
)
def test_what_the_engine_cannot_be_told_is_refused(folder: Path, instruction: str) -> None:
    with pytest.raises(ConfigError, match=r"web/Containerfile:4: .*(--exclude|octal|set-id)"):
        handed(folder, f"FROM scratch\nENV A=1\nARG A=2\n{instruction}")
