"""What `podbuild init` writes: valid as it stands, in full once everything is uncommented."""

import tomllib
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.commands.init import Seen, initial_files, look, write_files
from podbuild.config.document import (
    as_toml,
    default_text,
    duration_text,
    example,
    json_schema,
    reference,
)
from podbuild.config.keys import DURATION, Declared
from podbuild.config.load import load_config, parse_config
from podbuild.config.sections import SECTIONS, Table
from podbuild.errors import ConfigError

KEYS = [(section, each) for section in SECTIONS for each in section.keys]


def config_of(seen: Seen) -> str:
    return initial_files(seen)[0].text


def seen(*paths: str, remote: str = "", gitignore: str | None = None) -> Seen:
    return Seen(
        folder="My Shop",
        containerfiles=tuple(map(PurePosixPath, paths)),
        remote=remote,
        gitignore=gitignore,
    )


def test_an_empty_folder_becomes_a_project_that_can_be_built(tmp_path: Path) -> None:
    written = write_files(tmp_path, initial_files(look(tmp_path)))
    assert [path.name for path in written] == ["podbuild.toml", "Containerfile", ".gitignore"]
    config = load_config(tmp_path / "podbuild.toml", {})
    (image,) = config.images
    assert image.containerfile == tmp_path / "Containerfile"
    containerfile = read_containerfile(image.containerfile.read_text())
    assert [found.word for found in containerfile.instructions if found.heredocs] == ["COPY", "RUN"]


def test_images_are_named_after_what_is_there() -> None:
    text = config_of(
        seen(
            "Dockerfile",
            "containerfiles/web/Containerfile",
            "docker/api.Dockerfile",
            "services/mail/Dockerfile",
            "services/web/Dockerfile",
        )
    )
    config = parse_config(text, Path("/p/podbuild.toml"), {})
    found = {image.name: (str(image.containerfile), str(image.context)) for image in config.images}
    assert found == {
        "my-shop": ("/p/Dockerfile", "/p"),
        "web": ("/p/containerfiles/web/Containerfile", "/p"),
        "api": ("/p/docker/api.Dockerfile", "/p"),
        "mail": ("/p/services/mail/Dockerfile", "/p/services/mail"),
        "web-2": ("/p/services/web/Dockerfile", "/p/services/web"),
    }


def test_containerfiles_are_looked_for_where_people_put_them(tmp_path: Path) -> None:
    for name in (
        "Containerfile.web",
        "a/b/Dockerfile",
        "docker/build/Dockerfile",
        "node_modules/x/Dockerfile",
        ".git/Dockerfile",
        "a/b/c/d/e/Dockerfile",
        "readme.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path) for path in look(tmp_path).containerfiles] == [
        "Containerfile.web",
        "a/b/Dockerfile",
        "docker/build/Dockerfile",
    ]


@pytest.mark.parametrize(
    ("remote", "source", "repository"),
    [
        (
            "https://github.com/Acme/shop.git",
            "https://github.com/Acme/shop",
            "ghcr.io/acme/{image}",
        ),
        ("git@github.com:acme/shop.git", "https://github.com/acme/shop", "ghcr.io/acme/{image}"),
        (
            "ssh://git@gitlab.com:22/g/a/shop",
            "https://gitlab.com/g/a/shop",
            "registry.gitlab.com/g/a/shop/{image}",
        ),
        ("/srv/git/shop", None, "ghcr.io/acme/{image}"),
    ],
)
def test_source_and_registry_are_guessed_from_the_remote(
    remote: str, source: str | None, repository: str
) -> None:
    text = config_of(seen(remote=remote))
    assert tomllib.loads(text)["project"].get("source") == source
    assert f'# repository = "{repository}"' in text


def test_the_registry_stays_a_comment_until_someone_wants_it() -> None:
    text = config_of(seen(remote="https://github.com/acme/shop"))
    wanted = text.replace("# [registries", "[registries").replace("# kind =", "kind =", 1)
    wanted = wanted.replace("# repository", "repository", 1)
    config = parse_config(wanted, Path("/p/podbuild.toml"), {})
    assert str(config.registries[0].template) == "ghcr.io/acme/{image}"
    config = parse_config(text, Path("/p/podbuild.toml"), {})
    assert str(config.registries[0].template) == "dist/registry/{image}"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "podbuild.toml").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        write_files(tmp_path, initial_files(look(tmp_path)))
    assert (tmp_path / "podbuild.toml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["podbuild.toml"]


def test_an_ignore_file_of_a_containerfile_is_no_image(tmp_path: Path) -> None:
    for name in ("Dockerfile", "Dockerfile.dockerignore", "web.Containerfile.containerignore"):
        (tmp_path / name).touch()
    assert look(tmp_path).containerfiles == (PurePosixPath("Dockerfile"),)


def test_a_gitignore_in_another_encoding_is_added_to(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9")
    write_files(tmp_path, initial_files(look(tmp_path)))
    assert (tmp_path / ".gitignore").read_bytes() == b"caf\xe9\n/dist/\n"


def test_nothing_is_written_where_a_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        write_files(tmp_path, initial_files(look(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("*.pyc", "*.pyc\n/dist/\n"),
        ("*.pyc\n", "*.pyc\n/dist/\n"),
        ("dist/\n", "dist/\n"),
        ("/dist\n", "/dist\n"),
    ],
)
def test_the_output_folder_is_ignored_once(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / ".gitignore").write_text(before)
    write_files(tmp_path, initial_files(look(tmp_path)))
    assert (tmp_path / ".gitignore").read_text() == after


# --- the declaration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "each"), KEYS, ids=[f"{section.name}.{each.name}" for section, each in KEYS]
)
def test_every_example_is_a_value_that_its_key_takes(section: Table, each: Declared) -> None:
    value = tomllib.loads(f"x = {example(each)}")["x"]
    each.key.kind.read(value, Path("/p"), each.name)
    assert value not in ("", [], {}), f"{section.name}.{each.name} needs an example"


@pytest.mark.parametrize(
    "each", [each for _, each in KEYS if default_text(each) not in ("", "required")]
)
def test_every_default_reads_back_as_itself(each: Declared) -> None:
    value = tomllib.loads(f"x = {default_text(each)}")["x"]
    assert each.key.kind.read(value, Path(), each.name) == each.default


def test_the_reference_and_the_schema_name_every_key() -> None:
    text, schema = reference(), json_schema()
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert [*properties] == [section.name for section in SECTIONS]
    for section in SECTIONS:
        table = properties[section.name]
        assert isinstance(table, dict)
        inner = table["additionalProperties"] if section.named else table
        inner = table["items"] if section.listed else inner
        assert isinstance(inner, dict)
        if section.keys:
            keys = inner["properties"]
            assert isinstance(keys, dict)
            assert [*keys] == [each.name for each in section.keys]
            assert inner["additionalProperties"] is False
        for each in section.keys:
            assert f"| `{each.name}` |" in text


def test_the_first_configuration_shows_every_key_once() -> None:
    shown = [
        line.removeprefix("# ").partition(" = ")[0]
        for line in config_of(seen()).splitlines()
        if " = " in line
    ]
    for section in SECTIONS:
        for each in section.keys:
            if section.name != "registries":
                assert each.name in shown, f"{section.name}.{each.name}"


@given(st.integers(1, 10**7))
def test_durations_read_back_as_themselves(seconds: int) -> None:
    assert DURATION.parse(duration_text(float(seconds)), Path()) == seconds


any_text = st.text(st.characters(exclude_categories=["Cs"]))


@given(any_text)
def test_any_text_is_written_as_toml(text: str) -> None:
    assert tomllib.loads(f"x = {as_toml(text)}")["x"] == text


@given(st.dictionaries(any_text, st.integers()))
def test_any_table_is_written_as_toml(table: dict[str, int]) -> None:
    assert tomllib.loads(f"x = {as_toml(table)}")["x"] == table


@pytest.mark.parametrize(
    ("tags", "lines"),
    [
        ("v1.0.0 v1.1.0", ()),
        ("", ()),
        ("2024.01.15 2024.02.01", ('scheme = "calver"',)),
        ("web-v1.0.0 web-v1.1.0 nightly", ('tag = "web-v{version}"',)),
        ("api/v1.0.0 api/v1.1.0 my-shop/v0.1.0", ('tag = "my-shop/v{version}"',)),
    ],
)
def test_the_form_of_versions_is_guessed_from_tags(tags: str, lines: tuple[str, ...]) -> None:
    text = config_of(replace(seen(), folder="my-shop", tags=tuple(tags.split())))
    found = tuple(
        line.partition("  ")[0].strip()
        for line in text.splitlines()
        if line.startswith(("tag =", "scheme ="))
    )
    assert found == lines


def test_of_a_repository_as_they_are_what_is_no_release_is_left_alone(tmp_path: Path) -> None:
    files = {
        "core/Dockerfile.base": "FROM photon:5\n",
        "db/Dockerfile.base": "FROM photon:5\n",
        "sub/Dockerfile-alpine3.20": "FROM alpine:3.20\n",
        "sub/dockerfile-parser.go": "package parser\n",
        "build/package/Dockerfile": "FROM scratch\nCOPY cmd /\n",
        "cmd/main": "",
        "tests/e2e/Dockerfile": "FROM scratch\nCOPY nothing /\n",
        "windows/Dockerfile": "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    write_files(tmp_path, initial_files(look(tmp_path)))
    config = load_config(tmp_path / "podbuild.toml", {})
    assert {image.name: str(image.context.relative_to(tmp_path)) for image in config.images} == {
        "package": ".",
        "core-base": "core",
        "db-base": "db",
        "alpine3-20": "sub",
    }
    text = (tmp_path / "podbuild.toml").read_text()
    assert "# Left alone, as it belongs to tests: tests/e2e/Dockerfile" in text
    assert "# Left alone, as its base is not Linux: windows/Dockerfile" in text
    (tmp_path / ".gitignore").write_text("build/\n")
    assert "build/package/Dockerfile" not in {*map(str, look(tmp_path).containerfiles)}


def test_where_there_are_only_tests_they_are_taken(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/Dockerfile").write_text("FROM scratch\n")
    assert [str(path) for path in look(tmp_path).containerfiles] == ["test/Dockerfile"]
