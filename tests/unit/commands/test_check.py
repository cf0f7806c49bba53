"""`podbuild check`: what it finds in a configuration and its Containerfiles."""

from pathlib import Path

import pytest

from podbuild.build.inputs.lint import Finding, Level
from podbuild.commands.check import check_modes, check_project
from podbuild.config.load import load_config
from podbuild.config.model import Config
from podbuild.config.secrecy import require_inputs
from podbuild.errors import ConfigError

HEAD = '[project]\nname = "shop"\n[images.web]\n'
SOUND = "FROM docker.io/library/debian:13\nRUN <<EOF\ntrue\nEOF\n"


def project(folder: Path, config: str = HEAD, **files: str) -> Config:
    (folder / "podbuild.toml").write_text(config)
    for name, text in {"Containerfile": SOUND, **files}.items():
        (folder / name).write_text(text)
    return load_config(folder / "podbuild.toml", {})


def found(folder: Path, config: str = HEAD, containerfile: str = SOUND) -> tuple[Finding, ...]:
    return check_project(project(folder, config, Containerfile=containerfile))


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_a_sound_project_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path) == ()


def test_a_byte_order_mark_is_no_finding(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "podbuild.toml").write_text(HEAD, encoding="utf-8-sig")
    assert check_project(load_config(tmp_path / "podbuild.toml", {})) == ()


@pytest.mark.parametrize(
    "heredoc",
    [
        "COPY <<'E' /x\nit's\nE",
        "COPY <<E /x\n'a' \\' \"b'c\"\nE",
        "RUN <<E\necho it\\'s\nE",
        "RUN <<E\n'\nE",
    ],
)
def test_quotes_that_the_engine_takes_are_no_finding(heredoc: str, tmp_path: Path) -> None:
    assert found(tmp_path, containerfile=f"FROM a.b/c\n{heredoc}\n") == ()


CONTAINERFILES = [
    ("RUN true\nFROM a.b/c\n", 1, Level.ERROR, "before the first FROM", "ARG"),
    ("FROM a.b/c\nRUN <<EOF\ntrue\n", 2, Level.ERROR, "the heredoc EOF has no end", "EOF"),
    ("# empty\n", None, Level.ERROR, "no FROM", "FROM IMAGE"),
    ("\nFORM a.b/c\n", 2, Level.ERROR, "FORM before the first FROM", "only ARG"),
    ("FROM a.b/c\nRNU true\n", 2, Level.ERROR, "no instruction is called RNU", "RUN"),
    ("FROM a.b/c\nONBUILD CPOY x y\n", 2, Level.ERROR, "called CPOY", "COPY"),
    ("FROM a.b/c\nRUN a &&\n./b\n", 3, Level.ERROR, "called ./B", "goes on after a"),
    ('FROM a.b/c\nmaintainer ann\nshell ["/x"]\nRNU x\n', 4, Level.ERROR, "RNU", "RUN"),
    ("FROM docker.io/library/nginx:1\n", 1, Level.NOTE, "nginx makes ETags", "commit"),
    (
        f"FROM a.b/nginx-unprivileged@sha256:{'0' * 64}\n",
        1,
        Level.NOTE,
        "nginx makes ETags",
        "commit",
    ),
    ("FROM a.b/c\nADD https://x.y/z /z\n", 2, Level.WARNING, "other bytes each time", "checksum"),
    (
        "FROM a.b/c\nRUN --mount=type=secret,id=npm true\n",
        2,
        Level.WARNING,
        "secret 'npm' is not in the configuration",
        'id = "npm"',
    ),
    (
        "FROM a.b/c\nRUN --mount=type=ssh true\n",
        2,
        Level.WARNING,
        "agent 'default' is not in the configuration",
        'ssh = ["default"]',
    ),
    (
        "FROM a.b/c\nRUN --mount=type=ssh,id=deploy,required true\n",
        2,
        Level.ERROR,
        "agent 'deploy' is not in the configuration",
        'ssh = ["deploy"]',
    ),
]


@pytest.mark.parametrize(("text", "line", "level", "message", "hint"), CONTAINERFILES)
def test_a_containerfile_s_findings_name_their_line(
    tmp_path: Path, text: str, line: int | None, level: Level, message: str, hint: str
) -> None:
    finding = only(found(tmp_path, containerfile=text))
    assert (Path(finding.file).name, finding.line, finding.level) == ("Containerfile", line, level)
    assert message in finding.message
    assert "Containerfile:" not in finding.message
    assert hint in finding.hint


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ('format = "docker"', "FROM a.b/c\nHEALTHCHECK CMD true\n"),
        ("", 'FROM a.b/c\nSHELL ["/bin/sh"]\nONBUILD RUN true\nHEALTHCHECK CMD true\n'),
        ('timestamp = "commit"', "FROM a.b/nginx\n"),
        ("", f"FROM a.b/c\nADD --checksum=sha256:{'0' * 64} https://x.y/z /z\n"),
        ('target = "a"', "FROM a.b/c AS a\nFROM a.b/nginx\nHEALTHCHECK CMD true\n"),
        (
            'secrets = [{ id = "npm", env = "NPM" }]',
            "FROM a.b/c\nRUN --mount=type=secret,id=npm true\n",
        ),
        ('ssh = ["default", "k=key"]', "FROM a.b/c\nRUN --mount=id=k,type=ssh true\n"),
        ("[registries.r]\nkind = 'ghcr'\napi = 'https://a.b'\nrepository = 'a.b/c'", SOUND),
        ("[registries.r]\nkind = 'dockerhub'\nrepository = 'docker.io/a/b'", SOUND),
        ("[registries.r]\nkind = 'ghcr'\nrepository = '{env.HOST}/a/b'", SOUND),
        ("[registries.r]\nrepository = '{env.CI_REGISTRY_IMAGE}/{image}'", SOUND),
        ('build-args = { FLAVOR = "slim" }', "ARG FLAVOR\nFROM a.b/c:$FLAVOR\n"),
        ('contexts = { base = "docker-image://a.b/c" }', "FROM base\n"),
        ("", "FROM a.b/c\nRUN <<E python3\n#!/usr/bin/env python3\nprint()\nE\n"),
        ('isolation = "oci"', "FROM a.b/c\nRUN <<E\n#!/bin/sh\nE\n"),
    ],
)
def test_what_is_as_it_should_be_is_not_mentioned(tmp_path: Path, config: str, text: str) -> None:
    assert found(tmp_path, HEAD + config, text) == ()


CONFIGS = [
    ('build-args = { VERSION = "{version}" }', "ARG VERSION\nFROM a.b/c\n", 4, "built again"),
    ('labels = { rev = "{sha}" }', SOUND, 4, "{sha} changes"),
    (
        '[defaults]\n[defaults.labels]\nb = "x"\nc = "{branch}"',
        SOUND,
        7,
        "images.web.labels.c: {branch} changes",
    ),
    (
        "[registries.r]\nkind = 'ghcr'\nrepository = 'docker.io/a/b'",
        SOUND,
        5,
        "registries.r: docker.io is no registry of kind ghcr",
    ),
    ("[registries.r]\nrepository = 'ghcr.io/a/b'", SOUND, 4, "ghcr.io is no registry of kind oci"),
    ("[registries.r]\nkind = 'ghcr'\nrepository = 'a.b/c'", SOUND, 5, "no registry of kind ghcr"),
    ("platforms = ['linux/amd46']", SOUND, 4, "built for linux/amd46 only on such a machine"),
    ("[defaults]\nplatforms = ['linux/vax']", SOUND, 5, "built for linux/vax only"),
    ('build-args = { FLAVOR = "x" }', SOUND, None, "no ARG takes the build argument FLAVOR"),
    ('contexts = { base = "docker-image://a.b/c" }', SOUND, None, "context 'base' of 'web'"),
    ("[images.base]\ncontainerfile='base'", "FROM base\n", 1, "comes from a registry, though"),
]


@pytest.mark.parametrize(("config", "text", "line", "message"), CONFIGS)
def test_a_configuration_s_findings(
    tmp_path: Path, config: str, text: str, line: int | None, message: str
) -> None:
    (tmp_path / "base").write_text(SOUND)
    finding = only(found(tmp_path, HEAD + config, text))
    assert finding.level is Level.WARNING
    assert finding.line == line
    assert message in finding.message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("containerfile = 'nope'", "there is no"),
        ("ignorefile = 'nope'", "there is no"),
        ("context = 'nope'", "there is no folder"),
        ("contexts = { a = 'nope' }", "the context 'a'"),
    ],
)
def test_what_is_missing_is_an_error_before_any_build(
    tmp_path: Path, config: str, message: str
) -> None:
    read = project(tmp_path, HEAD + config)
    assert any(
        (finding.level, finding.line) == (Level.ERROR, 4) and message in finding.message
        for finding in check_project(read)
    )
    with pytest.raises(ConfigError, match="nope"):
        require_inputs(read.images)


def test_a_folder_is_no_containerfile(tmp_path: Path) -> None:
    finding = only(check_project(project(tmp_path, HEAD + "containerfile = '.'")))
    assert finding.line == 4
    assert "is a folder, not a file" in finding.message


def test_what_is_there_is_no_error(tmp_path: Path) -> None:
    require_inputs(project(tmp_path).images)


def test_two_images_of_one_tag_are_found(tmp_path: Path) -> None:
    config = HEAD + "[images.api]\n[registries.r]\nrepository = 'a.b/{env.OWNER}'\n"
    finding = only(found(tmp_path, config))
    assert "both write a.b/owner:1.0.0" in finding.message


def test_a_branch_that_writes_a_release_s_tag_is_found(tmp_path: Path) -> None:
    config = HEAD + "[images.api]\ntags = { release = ['{version}-a'], branches = { x = ['1.0'] } }"
    config += "\n[registries.r]\nrepository = 'a.b/c'\n"
    assert any("a.b/c:1.0 belongs to" in each.message for each in found(tmp_path, config))


def test_keys_and_certificates_that_are_not_there_are_found(tmp_path: Path) -> None:
    config = HEAD + "[registries.r]\nrepository = 'a.b/c'\nca = 'ca.pem'\n"
    config += "[attest.sign]\nkey = 'env:KEY'\npublic-key = 'cosign.pub'\n"
    findings = found(tmp_path, config)
    assert [(each.level, each.line, each.message.rpartition("/")[2]) for each in findings] == [
        (Level.WARNING, 6, "ca.pem"),
        (Level.WARNING, 9, "cosign.pub"),
    ]
    (tmp_path / "ca.pem").touch()
    (tmp_path / "cosign.pub").touch()
    assert found(tmp_path, config) == ()


def test_errors_come_first(tmp_path: Path) -> None:
    config = HEAD + "labels = { a = '{sha}' }\n[images.api]\ncontainerfile = 'nope'\n"
    assert [finding.level for finding in found(tmp_path, config)] == [Level.ERROR, Level.WARNING]


def test_an_unknown_target_names_the_stages(tmp_path: Path) -> None:
    finding = only(found(tmp_path, HEAD + "target = 'x'", "FROM a.b/c AS y\n"))
    assert (finding.level, finding.hint) == (Level.ERROR, "stages: y")


def test_modes_that_git_would_not_give_are_found(tmp_path: Path) -> None:
    for name, mode in (("right", 0o644), ("program", 0o755), ("odd", 0o664), ("odder", 0o600)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    expected = {tmp_path / "right": 0o644, tmp_path / "program": 0o755, tmp_path / "gone": 0o644}
    assert check_modes(expected) == ()
    odd = {tmp_path / "odd": 0o644, tmp_path / "odder": 0o644}
    finding = only(check_modes(expected | odd))
    assert "2 files have a mode" in finding.message
    assert "0664 instead of 0644" in finding.message


def test_a_pattern_that_docker_refuses_is_found_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / ".containerignore").write_text("a[\n")
    config = f'{HEAD}contexts = {{ more = "more" }}\n'
    text = f"{SOUND}COPY --from=more / /\n"
    project(tmp_path, config, Containerfile=text, **{".dockerignore": "ok\n[z-a]\n"})
    places = [
        (Path(each.file).name, each.line)
        for each in check_project(load_config(tmp_path / "podbuild.toml", {}))
    ]
    assert places == [(".dockerignore", 2), (".containerignore", 1)]
