"""podbuild.toml: what it gives, and the one line that says what is wrong with it."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from podbuild.config.choices import (
    Compression,
    FolderContext,
    Format,
    ImageContext,
    ReferenceContext,
)
from podbuild.config.load import find_config, load_config, parse_config
from podbuild.config.model import Config, Retention
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform, RegistryKind

HEAD = '[project]\nname = "shop"\n'
MINIMAL = HEAD + "[images.web]\n"


def read(text: str, folder: Path = Path("/nowhere"), **environment: str) -> Config:
    return parse_config(text, folder / "podbuild.toml", environment)


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert "\n" not in caught.value.message
    return caught.value


def test_two_lines_are_a_whole_configuration() -> None:
    config = read(MINIMAL + "platforms = ['linux/amd64']")
    assert config.root == Path("/nowhere")
    assert config.output == Path("/nowhere/dist")
    assert [str(template) for template in config.tags.release] == [
        "{version}",
        "{major}.{minor}",
        "{major}",
        "latest",
    ]
    assert config.retention == Retention()
    web = config.image("web")
    assert web.containerfile == Path("/nowhere/Containerfile")
    assert web.context == Path("/nowhere")
    assert web.platforms == (Platform("linux", "amd64"),)


def test_without_registries_images_go_to_layouts_under_dist() -> None:
    (registry,) = read(MINIMAL).registries
    assert (registry.name, registry.kind) == ("here", RegistryKind.LAYOUT)
    assert str(registry.template) == "dist/registry/{image}"
    (registry,) = read(MINIMAL.replace('"shop"', '"shop"\noutput = "out"')).registries
    assert str(registry.template) == "out/registry/{image}"


FULL = r"""
[project]
name = "shop"
source = "https://github.com/acme/shop"
output = "out"

[defaults]
platforms = ["linux/amd64", "linux/arm64"]
labels = { team = "shop", tier = "one" }
timeout = "30m"

[images.base]
containerfile = "containerfiles/base/Containerfile"
publish = false

[images.web]
context = "web"
target = "runtime"
contexts = { base = "image:base", data = "shared/data", go = "docker-image://docker.io/golang:1" }
build-args = { FLAVOR = "slim", VERSION = "{version}" }
secrets = [{ id = "npm", env = "NPM_TOKEN" }, { id = "key", file = "key.pem" }]
labels = { tier = "two" }
platforms = ["linux/arm64/v8"]
format = "docker"
tags = ["{version}-alpine"]

[registries.ghcr]
kind = "ghcr"
repository = "ghcr.io/{env.OWNER}/{image}"

[registries.hub]
kind = "dockerhub"
repository = "docker.io/acme/{image}"
required = false

[mirrors]
"docker.io" = ["mirror.example.com/hub", "public.ecr.aws/docker"]

[tags]
branches = { main = ["edge", "sha-{sha}"] }
yanked = ["2.0.0"]

[retention]
grace = "36h"
protect = ['\d+\.\d+\.\d+']
prune = [{ match = 'sha-[0-9a-f]{7}', keep = 10, older-than = "30d" }]

[cache]
repository = "ghcr.io/acme/cache/{image}"
"""


def test_every_table_is_read() -> None:
    config = read(FULL, OWNER="acme", HOME="/root")
    web = config.image("web")
    assert web.contexts == {
        "base": ImageContext("base"),
        "data": FolderContext(Path("/nowhere/shared/data")),
        "go": ReferenceContext("docker.io/golang:1"),
    }
    assert web.inner == {"base": "base"}
    assert (web.format, web.compression) == (Format.DOCKER, Compression.GZIP)
    assert [secret.id for secret in web.secrets] == ["npm", "key"]
    assert web.secrets[1].file == Path("/nowhere/key.pem")
    assert [str(template) for template in web.tags.release or ()] == ["{version}-alpine"]
    assert config.registry("hub").required is False
    assert config.mirrors == {"docker.io": ("mirror.example.com/hub", "public.ecr.aws/docker")}
    assert config.retention.grace == 36 * 3600
    assert config.retention.prune[0].older_than == 30 * 86400
    assert config.retention.prune[0].match.pattern == "sha-[0-9a-f]{7}"
    assert [str(version) for version in config.tags.yanked] == ["2.0.0"]
    assert config.output == Path("/nowhere/out")


def test_an_image_overrides_the_defaults_and_tables_are_merged() -> None:
    web, base = (read(FULL).image(name) for name in ("web", "base"))
    assert web.platforms == (Platform("linux", "arm64"),)
    assert base.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert {name: str(value) for name, value in web.labels.items()} == {
        "team": "shop",
        "tier": "two",
    }
    assert web.timeout == base.timeout == 1800


def test_only_the_named_variables_of_the_environment_are_kept() -> None:
    assert read(FULL, OWNER="acme", HOME="/root").env == {"OWNER": "acme"}


def test_a_dockerfile_is_found_where_there_is_no_containerfile(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    assert read(MINIMAL, tmp_path).image("web").containerfile == tmp_path / "Dockerfile"
    (tmp_path / "Containerfile").touch()
    assert read(MINIMAL, tmp_path).image("web").containerfile == tmp_path / "Containerfile"


def test_tags_of_an_image_can_name_branches_too() -> None:
    config = read(MINIMAL + 'tags = { release = ["{version}-a"], branches = { main = ["e-a"] } }')
    branches = config.image("web").tags.branches or {}
    assert [str(template) for template in branches["main"]] == ["e-a"]


WRONG = [
    ("", 1, "[project] is missing or empty", "write [project]"),
    (HEAD, 1, "[images] is missing or empty", "write [images.web]"),
    ("[project]\n\n[images.web]\n", 1, "[project] is missing", ""),
    ('[project]\nsource="https://a.b"\n[images.web]', 1, "project: name is missing", "{project}"),
    (
        MINIMAL + 'platfroms = ["linux/amd64"]',
        4,
        "images.web.platfroms: unknown key",
        "'platforms'",
    ),
    (MINIMAL + "[imgaes.x]", 4, "imgaes: unknown table", "'images'"),
    (MINIMAL + "[defaults]\ntarget = 'x'", 5, "defaults.target: unknown key", ""),
    (
        MINIMAL + 'platforms = ["linux/amd64",\n"windows"]',
        4,
        "platforms[1]: bad platform",
        "linux/arch",
    ),
    (MINIMAL + "platforms = []", 4, "images.web.platforms: must not be empty", ""),
    (MINIMAL + "platforms = ['linux/arm64', 'linux/arm64/v8']", 4, "is there twice", ""),
    (MINIMAL + "platforms = 'linux/amd64'", 4, "expected an array, not a string", ""),
    (MINIMAL + "layers = 'yes'", 4, "expected true or false, not a string", ""),
    (MINIMAL + "target = ''", 4, "images.web.target: must not be empty", "leave the key out"),
    (MINIMAL + "target = 1979-05-27", 4, "expected a string, not a date or time", ""),
    (MINIMAL + 'target = """a\nb"""', 4, "must be one line", ""),
    (MINIMAL + "format = 'dokcer'", 4, "images.web.format: 'dokcer' is not possible", "'docker'"),
    (MINIMAL + "timeout = '30'", 4, "'30' is not a duration", '"30m"'),
    (MINIMAL + "[retention]\ngrace = 24", 5, "retention.grace: expected a string", ""),
    (MINIMAL + "[retention]\nprotect = ['(']", 5, "not a regular expression", ""),
    (MINIMAL + "[[retention.prune]]\nmatch='a'\nkeep=-1", 6, "prune[0].keep: must not be neg", ""),
    (
        MINIMAL + "[[retention.prune]]\nmatch='a'",
        4,
        "prune[0]: keep is missing",
        "newest",
    ),
    (MINIMAL + "compression = 'zstd'\nformat = 'docker'", 4, "zstd layers do not exist", "gzip"),
    (
        MINIMAL + "contexts = { b = 'image:bsae' }\n[images.base]",
        4,
        "unknown image 'bsae'",
        "'base'",
    ),
    (
        MINIMAL + "contexts = { b = 'git://x/y' }",
        4,
        "'git://x/y' is no context",
        "image:",
    ),
    (MINIMAL + "registries = ['hub']", 4, "unknown registry 'hub'", "here"),
    (MINIMAL + "secrets = [{ id = 'a' }]", 4, "exactly one of env and file", "NPM_TOKEN"),
    (MINIMAL + "secrets = [{ id='a', env='A', file='b' }]", 4, "exactly one of env and file", ""),
    (MINIMAL + "secrets = [{ id='a', env='A' }, { id='a', env='B' }]", 4, "'a' is there twice", ""),
    (MINIMAL + "secrets = [{ env='A' }]", 4, "images.web.secrets[0]: id is missing", ""),
    (
        MINIMAL + "build-args = { V = '{env.A}' }\nsecrets = [{ id = 'a', env = 'A' }]",
        4,
        "build-args.V: A is a secret and would be readable in the image",
        "type=secret",
    ),
    (
        "[defaults]\nlabels = { v = 'x{env.GITHUB_TOKEN}' }\n" + MINIMAL,
        2,
        "defaults.labels.v: GITHUB_TOKEN is a secret",
        "",
    ),
    (
        MINIMAL + "annotations = { v = '{env.PODBUILD_HUB_TOKEN}' }\n"
        "[registries.hub]\nrepository = 'a.b/c'",
        4,
        "annotations.v: PODBUILD_HUB_TOKEN is a secret",
        "",
    ),
    (MINIMAL + "build-args = { V = '{verison}' }", 4, "unknown placeholder {verison}", "{version}"),
    (MINIMAL + "build-args = { V = '{version' }", 4, "a single '{'", "{{"),
    (MINIMAL + "build-args = { 'A B' = 'x' }", 4, "'A B' is not the name of a variable", ""),
    (MINIMAL + "[tags]\nrelease = ['{{version}}']", 5, "double braces", "single"),
    (MINIMAL + "[tags]\nrelease = ['a b']", 5, "no registry takes the tag 'a b'", "letters"),
    (MINIMAL + "[tags]\nrelease = ['.a']", 5, "no registry takes the tag '.a'", ""),
    (MINIMAL + "[tags]\nrelease = ['{branch}']", 5, "a release has no branch", ""),
    (MINIMAL + "[tags.branches]\nmain = ['{version}']", 5, "a branch has no version", "{sha}"),
    (MINIMAL + "[tags.branches]\nmain = ['latest']", 5, "this one belongs to releases", "edge"),
    (MINIMAL + "[tags.branches]\na = ['x']\nb = ['x']", 6, "belongs to the branch a", "edge"),
    (MINIMAL + "[tags.branches]\n'f/*' = ['x']", 5, "belongs to several", "{branch}"),
    (MINIMAL + "[tags]\nyanked = ['2.0']", 5, "tags.yanked[0]: '2.0' is not a version", "v1.2.3"),
    (MINIMAL + "[registries.a]", 4, "registries.a: a registry needs repository", "ghcr.io"),
    (MINIMAL + "[registries.a]\nkind = 'layout'", 4, "registries.a: a layout needs path", "dist"),
    (MINIMAL + "[registries.a]\nrepository = 'acme/{image}'", 5, "bad repository", "its registry"),
    (MINIMAL + "[registries.a]\nrepository='a.b/c'\nuntag=true", 6, "only ghcr needs untag", ""),
    (MINIMAL + "[registries.a]\nkind='layout'\npath='x'\nca='y'", 7, "has no such key", ""),
    (MINIMAL + "[registries.a]\nrepository='a.b/c'\nca='y'\ninsecure=true", 7, "needs no ca", ""),
    (
        MINIMAL + "[registries.a-b]\nrepository='a.b/c'\n[registries.a_b]\nrepository='a.b/d'",
        6,
        "PODBUILD_A_B_TOKEN",
        "rename",
    ),
    (MINIMAL + "[mirrors]\n'docker.io' = []", 5, 'mirrors."docker.io": must not be empty', ""),
    (MINIMAL + "[mirrors]\n'docker.io' = ['https://x']", 5, "'https://x' is not a registry", ""),
    (
        '[project]\nname="s"\noutput="."\n[images.web]',
        3,
        "output: must be a folder",
        "dist",
    ),
    (MINIMAL + "[images.'a/b']", 4, "images.\"a/b\": 'a/b' is not a name", "letters"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), WRONG)
def test_an_error_names_file_line_and_key(text: str, line: int, message: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith(f"/nowhere/podbuild.toml:{line}: "), error.message
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [("[project]\nname = \n", 2), ('a = """\n\n', 2), ("a = 1\na = 2\n", 2), ("a = [1,\n", 1)],
)
def test_a_syntax_error_names_its_line(text: str, line: int) -> None:
    assert f"podbuild.toml:{line}: not valid TOML: " in refused(text).message


SYNTAX = [
    ("[project]\nname = shop\n", 2, "invalid value", "quotes"),
    ("[project]\nname: shop\n", 2, "expected '='", 'key = "value"'),
    ("<<<<<<< HEAD\n[project]\n", 1, "invalid statement", "[table]"),
    ('a = "x\ny = 1\n', 1, "illegal character", "closing quote"),
    ("a = 'b\\c'\nb = \"d\\e\"\n", 2, "unescaped", "single quotes"),
    ("a = 1\na = 2\n", 2, "cannot overwrite", "twice"),
    ("[project]\n[project]\n", 2, "cannot declare [project] twice", "keys together"),
    ("[a.'b.c']\n[a.'b.c']\n", 2, 'cannot declare [a."b.c"] twice', "keys together"),
    ("a = [\n", 1, "", "not closed"),
    (f"a = 1\nb = {'9' * 5000}\n", 2, "an integer has too many digits", "smaller"),
    (f"a = {'[' * 5000}", 1, "", "not closed"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), SYNTAX)
def test_a_syntax_error_says_what_to_write(text: str, line: int, message: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith(f"/nowhere/podbuild.toml:{line}: not valid TOML: {message}")
    assert hint in error.hint


def test_values_that_are_handed_on_may_be_empty_or_of_several_lines() -> None:
    text = "build-args = { A = '' }\nlabels = { l = '' }\nannotations = { a = \"x\\n\\ty\" }\n"
    (image,) = parse_config(MINIMAL + text, Path("/nowhere/podbuild.toml"), {}).images
    assert image.build_args["A"].text == image.labels["l"].text == ""
    assert image.annotations["a"].text == "x\n\ty"
    assert "control characters" in refused(MINIMAL + 'labels = { l = "\\u0000" }\n').message


MISTYPED = [
    ("", "write [project], and below it name"),
    ("project = 1\n[images.web]\n", "write [project], and below it name"),
    (HEAD, "write [images.web]"),
    (HEAD + "[images]\nweb = 'x'\n", "write [images.web]"),
    (MINIMAL + "platforms = 'linux/amd64'\n", 'platforms = ["linux/amd64", "linux/arm64"]'),
    (MINIMAL + "build-args = { A = 1 }\n", 'build-args = { FLAVOR = "slim" }'),
    (MINIMAL + "layers = 'true'\n", "without quotes"),
    (MINIMAL + "timeout = 5\n", '"30m"'),
    (MINIMAL + "[retention]\nprune = [{ match = 'x', keep = true }]\n", "keep = 10"),
    (MINIMAL + "[mirrors]\ndocker.io = ['a.b/c']\n", '"docker.io" = ['),
]


@pytest.mark.parametrize(("text", "hint"), MISTYPED)
def test_a_value_of_the_wrong_type_is_answered_with_one_of_the_right(text: str, hint: str) -> None:
    assert hint in refused(text).hint


def test_a_circle_of_images_is_named() -> None:
    error = refused(
        HEAD
        + "[images.a]\ncontexts = { x = 'image:b' }\n[images.b]\ncontexts = { x = 'image:c' }\n"
        + "[images.c]\ncontexts = { x = 'image:a' }\n"
    )
    assert "in a circle: " in error.message
    circle = error.message.rpartition(": ")[2].split(" -> ")
    assert circle[0] == circle[-1]
    needs = {"a": "b", "b": "c", "c": "a"}
    assert all(needs[one] == two for one, two in pairwise(circle))


def test_a_base_must_have_the_platforms_of_what_builds_on_it() -> None:
    error = refused(
        HEAD + "[images.b]\nplatforms = ['linux/amd64']\n[images.w]\ncontexts = { b = 'image:b' }\n"
    )
    assert error.message.startswith("/nowhere/podbuild.toml:6: images.w.contexts.b: ")
    assert "not built for linux/arm64" in error.message


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    config = read(MINIMAL)
    with pytest.raises(ConfigError, match="unknown image 'wbe'") as caught:
        config.image("wbe")
    assert "web" in caught.value.hint
    with pytest.raises(ConfigError, match="unknown registry 'hub'"):
        config.registry("hub")


def test_the_configuration_is_found_in_a_folder_above(tmp_path: Path) -> None:
    (tmp_path / "podbuild.toml").write_text(MINIMAL)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_config(deep) == tmp_path / "podbuild.toml"
    assert load_config(find_config(deep), {}).project.name == "shop"


def test_a_byte_order_mark_is_no_part_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "podbuild.toml"
    path.write_text(MINIMAL, encoding="utf-8-sig")
    assert load_config(path, {}).project.name == "shop"


def test_an_output_that_leads_to_itself_is_no_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "dist").symlink_to("dist")
    (tmp_path / "podbuild.toml").write_text(MINIMAL)
    assert load_config(tmp_path / "podbuild.toml", {}).output == tmp_path / "dist"


def test_no_configuration_at_all_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(tmp_path)
    assert "podbuild init" in caught.value.hint


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "podbuild.toml"
    path.write_bytes(MINIMAL.encode() + b'target = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"podbuild\.toml:4: not UTF-8 text") as caught:
        load_config(path, {})
    assert "UTF-8" in caught.value.hint


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "podbuild.toml"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="it is a pipe"):
        load_config(path, {})


@pytest.mark.parametrize(("content", "message"), [(b"\xff", "not UTF-8"), (None, "can't read")])
def test_an_unreadable_file_is_one_clear_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "podbuild.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path, {})
