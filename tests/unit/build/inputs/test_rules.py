"""What the rules for Containerfiles find, and where they are silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.instructions import read_instructions
from podbuild.build.inputs.scripts import Script
from podbuild.commands.rules import check_rules
from podbuild.config.load import load_config

HEAD = '[project]\nname = "shop"\n[images.web]\n'
USER = "USER 10\n"


def found(folder: Path, text: str, config: str = "") -> set[tuple[str, int | None]]:
    (folder / "podbuild.toml").write_text(HEAD + config)
    (folder / "Containerfile").write_text(text)
    every = check_rules(load_config(folder / "podbuild.toml", {}))
    return {(each.rule or each.message, each.line) for each in every}


CASES = {
    "FROM a.b/c\n": {("unpinned-base", 1)},
    "FROM a.b:5000/c\n": {("unpinned-base", 1)},
    "FROM a.b/c:latest\n": {("latest-base", 1)},
    "ARG TAG=latest\nFROM a.b/c:${TAG}\n": {("latest-base", 2)},
    "FROM a.b/c:1 AS x\nFROM scratch\nCOPY --from=x / /\nCOPY --from=a.b/d /y /\n": {
        ("unpinned-base", 4)
    },
    "FROM a.b/c:1\nADD app.py /\n": {("add-for-copy", 2)},
    'FROM a.b/c:1\nADD ["a b", "/"]\n': {("add-for-copy", 2)},
    "FROM a.b/c:1\nRUN sudo apk add --no-cache x\n": {("sudo", 2)},
    "FROM a.b/c:1\nRUN apt-get update && apt-get -y upgrade\n": {("apt-upgrade", 2)},
    "FROM a.b/c:1\nRUN <<EOF\nset -e\napk upgrade\nEOF\n": {("apt-upgrade", 2)},
    "FROM a.b/c:1\nRUN apt-get update\nRUN true\n": {("apt-update-alone", 2)},
    "FROM a.b/c:1 AS x\nRUN apt-get update\nFROM scratch\nCOPY --from=x / /\n": {
        ("apt-update-alone", 2)
    },
    'FROM a.b/c:1\nCMD ["x"]\n': {("missing-user", 1)},
    'FROM a.b/c:1\nUSER 5\nUSER root\nCMD ["x"]\n': {("missing-user", 3)},
    f"FROM a.b/c:1\n{USER}ENTRYPOINT java -jar x\n": {("shell-form-entrypoint", 3)},
    "FROM a.b/c:1\nARG NPM_TOKEN\n": {("secret-in-arg-or-env", 2)},
    "FROM a.b/c:1\nENV A=b DB_PASSWORD=x\n": {("secret-in-arg-or-env", 2)},
    "FROM a.b/c:1\nENV API_KEY x y\n": {("secret-in-arg-or-env", 2)},
    "FROM a.b/c:1\nRUN apt-get update && apt-get install -y x\n": {("cache-mount-missing", 2)},
    "FROM a.b/c:1\nRUN --mount=type=cache,target=/var/cache/apt apt-get install -y x\n": {
        ("cache-mount-missing", 2)
    },
    "FROM a.b/c:1\nRUN python3 -m pip install x\n": {("cache-mount-missing", 2)},
    "FROM a.b/c:1\nRUN <<EOF bash\nif true; then\n  npm ci\nfi\nEOF\n": {
        ("cache-mount-missing", 2)
    },
    "FROM a.b/c:1\nRUN apk add x && pip install y\n": {("cache-mount-missing", 2)},
    "FROM a.b/c:1\nRUN ['x'] && dnf -y install x\n": {("cache-mount-missing", 2)},
}


@pytest.mark.parametrize("text", CASES)
def test_a_rule_finds_what_it_is_named_for(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == CASES[text]


SILENT = [
    "FROM scratch\n",
    "FROM a.b/c:1\n",
    "FROM a.b/c@sha256:" + "0" * 64 + "\n",
    "FROM a.b/c:1 AS base\nFROM base\n",
    "FROM a.b/c AS unused\nFROM a.b/c:1\n",
    "FROM a.b/c:1\nADD x.tar.gz /\nADD https://a.b/c /\nADD <<E /x\ny\nE\n",
    "ARG SRC\nFROM a.b/c:1\nARG SRC\nADD ${SRC} /\n",
    "FROM a.b/c:1\nRUN echo sudo apt-get upgrade\n",
    "FROM a.b/c:1\nRUN <<EOF cat > /x\napt-get update\npip install x\nEOF\n",
    "FROM a.b/c:1\nRUN <<EOF\n#!/usr/bin/env python3\npip install x\nEOF\n",
    "FROM a.b/c:1\nRUN <<EOF\n# apt-get upgrade\necho 'apt-get upgrade'\nEOF\n",
    "FROM a.b/c:1\nRUN apt-get update && apt-get install -y x && rm -rf /var/lib/apt/lists/*\n",
    "FROM a.b/c:1\nRUN --mount=type=cache,target=/var/lib/apt,sharing=locked apt-get install x\n",
    "FROM a.b/c:1\nRUN --mount=type=cache,target=/var/lib/apt apt-get update\n",
    "FROM a.b/c:1\nRUN --mount=type=tmpfs,dst=/var/lib/apt/lists <<EOF\napt-get install x\nEOF\n",
    "FROM a.b/c:1\nRUN apk add --no-cache x\n",
    "FROM a.b/c:1\nRUN dnf -y install x && dnf clean all\n",
    "FROM a.b/c:1\nRUN pip install --no-cache-dir x\n",
    "FROM a.b/c:1\nENV PIP_NO_CACHE_DIR=1\nRUN pip install x\n",
    "FROM a.b/c:1\nRUN --mount=type=cache,target=/root/.cache pip install x\n",
    "FROM a.b/c:1 AS x\nRUN apt-get install x && npm ci\nFROM scratch\nCOPY --from=x /y /\n",
    f'FROM a.b/c:1\n{USER}ENTRYPOINT ["x"]\n',
    f"FROM a.b/c:1\n{USER}ENTRYPOINT exec x\n",
    'FROM gcr.io/distroless/static:nonroot\nCMD ["x"]\n',
    "FROM a.b/c:1\nENV TOKEN_FILE=/run/secrets/x PUBLIC_KEY=y KEYBOARD=z MONKEY=a TOKEN=\n",
]


@pytest.mark.parametrize("text", SILENT)
def test_where_a_rule_does_not_hold_it_is_silent(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == set()


def test_contexts_and_images_of_the_project_are_no_bases_from_outside(tmp_path: Path) -> None:
    config = 'contexts = { base = "image:base" }\n[images.base]\ncontainerfile = "B"\n'
    (tmp_path / "B").write_text("FROM scratch\n")
    assert found(tmp_path, "FROM base\n", config) == set()


def test_an_install_behind_the_whole_context_is_told_which_files_it_needs(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "package-lock.json").write_text("{}")
    text = (
        "FROM a.b/node:1 AS x\nCOPY . .\nRUN npm ci\nRUN npm run build\n"
        "FROM scratch\nCOPY --from=x /dist /\n"
    )
    assert found(tmp_path, text) == {("copy-before-install", 3)}
    assert found(tmp_path, text.replace("COPY . .\n", "COPY package*.json ./\n")) == set()
    (tmp_path / "package.json").write_text('{"scripts": {"postinstall": "node x.js"}}')
    assert found(tmp_path, text) == set()
    assert found(tmp_path, text.replace("npm ci", "npm ci --ignore-scripts")) != set()


@pytest.mark.parametrize(
    ("command", "files", "is_sure"),
    [
        ("pip install -r requirements.txt", {"requirements.txt": "a==1\n"}, True),
        ("pip install -r requirements.txt", {"requirements.txt": "-e .\n"}, False),
        ("pip install .", {}, False),
        ("go mod download", {"go.mod": "module x\n", "go.sum": ""}, True),
        ("go mod download", {"go.mod": "replace a => ./b\n"}, False),
        ("uv sync", {"pyproject.toml": "", "uv.lock": ""}, False),
        ("uv sync --no-install-project", {"pyproject.toml": "", "uv.lock": ""}, True),
        ("bundle install", {"Gemfile": "gem 'a'\n"}, True),
        ("bundle install", {"Gemfile": "gemspec\n"}, False),
        ("cargo fetch", {"Cargo.toml": "[workspace]\n"}, False),
        ("npm ci", {}, False),
    ],
)
def test_only_where_an_install_surely_needs_no_more(
    tmp_path: Path, command: str, files: dict[str, str], is_sure: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    text = f"FROM a.b/c:1 AS x\nCOPY . .\nRUN {command}\nFROM scratch\nCOPY --from=x /y /\n"
    assert bool(found(tmp_path, text)) is is_sure


def test_rules_are_silenced_in_the_file_and_in_the_configuration(tmp_path: Path) -> None:
    text = "# podbuild: ignore=latest-base\nFROM a.b/c:latest\nARG TOKEN\n"
    assert found(tmp_path, text) == {("secret-in-arg-or-env", 3)}
    config = '[audit]\nignore = ["web:secret-in-arg-or-env", "sudo"]\n'
    (note,) = found(tmp_path, f"# more\n\n{text}", config)
    assert note[0] == "nothing is found that ignoring sudo would silence"


def test_an_ignore_for_all_images_need_not_be_of_use_to_each(tmp_path: Path) -> None:
    config = '[images.b]\ncontainerfile = "B"\n[audit]\nignore = ["latest-base"]\n'
    (tmp_path / "B").write_text("FROM a.b/c:latest\n")
    assert found(tmp_path, "FROM scratch\n", config) == set()


def test_the_commands_of_a_script_are_read() -> None:
    text = (
        "RUN <<EOF\nset -e; A=b c && (d e)\n# f\nif g; then\n  h 'i; j' || k\nfi\n"
        "sh -c 'l; m'\nsudo -E n o\nEOF\n"
    )
    _, (instruction,) = read_instructions(text, where="x")
    names = [each.name for each in Script(instruction).commands]
    assert names == ["set", "c", "d", "g", "h", "k", "fi", "l", "m", "sudo", "n"]
