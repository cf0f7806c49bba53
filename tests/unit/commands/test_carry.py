"""Files of other tools as podbuild.toml: what is carried over loads, the rest has its line."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from podbuild.commands.carry import Carried, config_text, repository_of
from podbuild.commands.carry_files import carry_over
from podbuild.config.load import load_config
from podbuild.errors import ConfigError

BAKE = """\
variable "TAG" { default = "latest" }
variable "OWNER" {}
group "default" { targets = ["web", "worker"] }
target "_common" {
  platforms = ["linux/amd64", "linux/arm64"]
  args = { GO = "1.22", NONE = null }
}
target "web" {
  inherits   = ["_common"]
  context    = "web"
  dockerfile = "Containerfile.prod"
  tags       = ["ghcr.io/acme/shop-web:${TAG}", "acme/shop-web", title("x")]
  args       = { MODE = "prod-${TAG}", JSON = "{}" }
  contexts   = { base = "target:base", alpine = "docker-image://alpine:3" }
  secret     = ["type=secret,id=npm,env=NPM_TOKEN", { id = "key", src = "key.pem" }]
  ssh        = ["default"]
  output     = [{ type = "registry" }]
  ulimits    = ["nofile=1024"]
  labels     = { when = timestamp() }
}
target "base" { dockerfile = "base/Dockerfile" }
target "worker" {
  inherits = ["_common"]
  name     = "worker-${v}"
  matrix   = { v = ["1", "2"] }
  args     = { V = v, WHO = OWNER }
  network  = "none"
  tags     = ["ghcr.io/acme/worker:${v}"]
}
target "lonely" { context = "x" }
"""
COMPOSE = """\
x-build: &shared
  context: ..
  args: {A: "1"}
services:
  api:
    image: ghcr.io/acme/api:${TAG:-dev}
    build:
      <<: *shared
      dockerfile: api/Dockerfile
      target: run
      args:
        - VERSION=$VERSION
        - TOKEN
        - "PRICE=$$5"
      secrets: [npm, source: key]
      additional_contexts: {base: service:worker}
      shm_size: 1g
  worker:
    build: ./worker
    platform: linux/arm64
  db:
    image: postgres
secrets:
  npm: {environment: NPM_TOKEN}
  key: {file: ./key.pem}
"""


def carried(folder: Path, name: str, text: str) -> Carried:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = carry_over(folder, name)
    (folder / "podbuild.toml").write_text(config_text(found, file=name, project="shop"))
    return found


def table(folder: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads((folder / "podbuild.toml").read_text())


def test_a_bake_file(tmp_path: Path) -> None:
    found = carried(tmp_path, "docker-bake.hcl", BAKE)
    said = table(tmp_path)
    assert said["images"]["shop-web"] == {
        "context": "web",
        "containerfile": "web/Containerfile.prod",
        "platforms": ["linux/amd64", "linux/arm64"],
        "build-args": {"GO": "1.22", "MODE": "prod-latest", "JSON": "{{}}"},
        "contexts": {"base": "image:base", "alpine": "docker-image://alpine:3"},
        "secrets": [{"id": "npm", "env": "NPM_TOKEN"}, {"id": "key", "file": "key.pem"}],
        "ssh": ["default"],
        "registries": ["ghcr", "dockerhub"],
    }
    assert said["images"]["base"] == {
        "context": ".",
        "containerfile": "base/Dockerfile",
        "publish": False,
    }
    worker = said["images"]["worker-2"]
    assert worker["build-args"] == {"GO": "1.22", "V": "2", "WHO": "{env.OWNER}"}
    assert worker["network"] == "none"
    assert worker["registries"] == ["ghcr-2"]
    assert said["registries"] == {
        "ghcr": {"kind": "ghcr", "repository": "ghcr.io/acme/{image}"},
        "dockerhub": {"kind": "dockerhub", "repository": "docker.io/acme/{image}"},
        "ghcr-2": {"kind": "ghcr", "repository": "ghcr.io/acme/worker"},
    }
    assert {(each.line, each.what) for each in found.left_out} == {
        (1, "variable TAG"),
        (12, "target web: tags"),
        (18, "target web: ulimits"),
        (19, "target web: labels"),
        (30, "target lonely"),
    }
    assert "# docker-bake.hcl:18: target web: ulimits" in (tmp_path / "podbuild.toml").read_text()
    loaded = load_config(tmp_path / "podbuild.toml", {"OWNER": "me"})
    assert {image.name for image in loaded.images} == {"shop-web", "base", "worker-1", "worker-2"}


def test_what_bake_prints_is_read_without_a_reader_of_hcl(tmp_path: Path) -> None:
    args = {"X": "${Y}", "Z": "$${Y}", "W": "%%{Y}"}  # as older ones and newer ones print it
    target = {"context": ".", "tags": ["localhost:5000/a/web:1"], "args": args}
    text = json.dumps({"target": {"web": {**target, "shm-size": "1g"}}}, indent=1)
    found = carried(tmp_path, "docker-bake.json", text)
    said = table(tmp_path)
    assert said["images"]["web"]["build-args"] == {"X": "${{Y}}", "Z": "${{Y}}", "W": "%{{Y}}"}
    assert said["registries"]["localhost-5000"]["repository"] == "localhost:5000/a/{image}"
    assert said["defaults"]["platforms"] == ["linux/amd64"]
    assert [each.what for each in found.left_out] == ["target web: shm-size"]
    assert text.splitlines()[found.left_out[0].line - 1].strip().startswith('"shm-size"')


def test_a_compose_file(tmp_path: Path) -> None:
    found = carried(tmp_path, "deploy/compose.yaml", COMPOSE)
    said = table(tmp_path)
    assert said["images"]["api"] == {
        "context": ".",
        "containerfile": "api/Dockerfile",
        "target": "run",
        "build-args": {"VERSION": "{env.VERSION}", "TOKEN": "{env.TOKEN}", "PRICE": "$5"},
        "secrets": [{"id": "npm", "env": "NPM_TOKEN"}, {"id": "key", "file": "deploy/key.pem"}],
        "contexts": {"base": "image:worker"},
    }
    assert said["images"]["worker"] == {
        "context": "deploy/worker",
        "containerfile": "deploy/worker/Dockerfile",
        "platforms": ["linux/arm64"],
        "publish": False,
    }
    assert said["registries"]["ghcr"]["repository"] == "ghcr.io/acme/{image}"
    lines = [(each.line, each.what) for each in found.left_out]
    assert (17, "service api: build.shm_size") in lines
    assert (6, "service api: image: $TAG") in lines


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.hcl", 'target "a" {', "x.hcl"),
        ("x.hcl", 'group "a" {}', "there is no target"),
        ("x.json", "{", "x.json"),
        ("x.json", "[]", "there is no target"),
        ("x.yaml", "a: [", "x.yaml"),
        ("x.yaml", "a: b\n\tc: d", ":2: .*found character .* cannot start any token"),
        ("x.yaml", "services: {a: {image: x}}", "no service has a build"),
        ("x.yaml", "", "neither a compose file nor a workflow"),
        ("x.toml", "", "neither a bake file nor a compose file"),
    ],
)
def test_what_can_t_be_read_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=says):
        carry_over(tmp_path, name)
    with pytest.raises(ConfigError, match="No such file"):
        carry_over(tmp_path, f"none-{name}")


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("web", "docker.io/library/web"),
        ("acme/web:1@sha256:x", "docker.io/acme/web"),
        ("{env.R}/web:1", "{env.R}/web"),
    ],
)
def test_references(reference: str, repository: str) -> None:
    assert repository_of(reference) == repository


FAMILY = """\
variable "VERSION" { default = "4.3" }
variable "CREATED" { default = timestamp() }
variable "SHA" { default = "" }
function "tag" {
  params = [text]
  result = notequal(text, "") ? "acme/app:${VERSION}-${text}" : "acme/app:${VERSION}"
}
group "default" { targets = ["app", "lint"] }
target "app" {
  name      = "app-${replace(os.name, ".", "-")}"
  matrix    = { os = [{ name = "alpine3.20", file = "a" }, { name = "debian", file = "d" }] }
  dockerfile = "${os.file}.Dockerfile"
  tags      = [tag(os.name), equal(os.name, "debian") ? tag("") : ""]
  platforms = ["linux/amd64", "darwin/arm64", "local"]
  args      = { SHA = SHA, WHEN = CREATED, ODD = uuidv4(), TEXT = <<EOT
one
EOT
  }
}
target "lint" { output = ["type=cacheonly"] }
target "shipped" { tags = ["acme/other:edge"] }
target "_base" { args = { X = "1" } }
"""


def test_a_matrix_that_is_an_expression_is_told_and_loses_no_target(tmp_path: Path) -> None:
    text = (
        'variable "APPS" { default = "a,b" }\n'
        'target "app" {\n  tags = ["r/app:1"]\n  matrix = { app = split(",", title(APPS)) }\n}\n'
    )
    found = carried(tmp_path, "docker-bake.hcl", text)
    assert [*table(tmp_path)["images"]] == ["app"]
    assert [(each.line, each.what) for each in found.left_out if "matrix" in each.what] == [
        (4, "target app: matrix app")
    ]


def test_a_matrix_of_a_variable_is_an_image_for_each_of_its_values(tmp_path: Path) -> None:
    text = (
        'variable "JDKS" { default = [17, 21] }\nvariable "GO" { default = null }\n'
        'target "app" {\n  matrix = { jdk = JDKS }\n  args = { JDK = jdk, GO = GO }\n'
        '  target = GO\n  network = GO == null ? null : "host"\n}\n'
    )
    found = carried(tmp_path, "docker-bake.hcl", text)
    images = table(tmp_path)["images"]
    assert [each["build-args"] for each in images.values()] == [{"JDK": "17"}, {"JDK": "21"}]
    assert all("target" not in each and "network" not in each for each in images.values())
    assert [each.what for each in found.left_out] == ["variable JDKS", "variable GO"]


def test_a_family_of_images_by_matrix_and_functions(tmp_path: Path) -> None:
    found = carried(tmp_path, "docker-bake.hcl", FAMILY)
    said = table(tmp_path)
    app = {"context": ".", "platforms": ["linux/amd64"]}
    args = {"SHA": "{env.SHA}", "WHEN": "{env.CREATED}", "TEXT": "one\n"}
    assert said["images"] == {
        "app-alpine3-20": {
            **app,
            "containerfile": "a.Dockerfile",
            "build-args": args,
            "registries": ["dockerhub"],
            "tags": {"suffix": "-alpine3.20"},
        },
        "app-debian": {
            **app,
            "containerfile": "d.Dockerfile",
            "build-args": args,
            "registries": ["dockerhub"],
            "tags": {"suffix": "-debian"},
        },
        "lint": {"context": ".", "containerfile": "Dockerfile", "publish": False},
        "other": {
            "context": ".",
            "containerfile": "Dockerfile",
            "registries": ["dockerhub-2"],
        },
    }
    lines = FAMILY.splitlines()
    what = {each.what for each in found.left_out}
    assert {
        "variable VERSION",
        "variable CREATED",
        "variable SHA",
        "target lint: output",
        "target shipped: tag edge",
        "target _base",
    } <= what
    assert any("darwin/arm64" in each for each in what)
    assert any("ODD" in each.hint for each in found.left_out)
    for each in found.left_out:
        assert each.what.split()[1].rstrip(":").partition("-")[0] in "\n".join(
            lines[max(0, each.line - 8) : each.line]
        ), each


def test_what_a_compose_file_takes_from_elsewhere_is_listed(tmp_path: Path) -> None:
    text = """\
include: [other.yaml]
services:
  app:
    image: ghcr.io/acme/app
    platform: ${PLATFORM:-linux/arm64}
    build:
      context: .
      args: {DEEP: "${A:-${B:-deep}}", SET: "${C:+set}"}
      tags: [docker.io/acme/app:1]
  both:
    extends: {file: common.yaml, service: base}
    build: .
  none:
    extends: app
"""
    found = carried(tmp_path, "compose.yaml", text)
    app = table(tmp_path)["images"]["app"]
    assert app["build-args"] == {"DEEP": "deep", "SET": ""}
    assert app["platforms"] == ["linux/arm64"]
    assert [*table(tmp_path)["registries"]] == ["ghcr", "dockerhub"]
    said = {(each.line, each.what) for each in found.left_out}
    assert {
        (1, "include other.yaml"),
        (11, "service both: extends"),
        (14, "service none: extends"),
        (8, "service app: build: ${C:+set}"),
        (9, "service app: build.tags"),
    } <= said


WRITTEN = """\
variable "PLATFORMS" { default = ["linux/amd64", "linux/arm64"] }
variable "REGISTRIES" { default = ["ghcr.io/acme", "quay.io/acme"] }
function "tags" {
  params = [name, versions]
  result = [for v in versions : "ghcr.io/acme/${name}:${v}" if v != ""]
}
target "web" {
  platforms = concat(PLATFORMS, ["linux/arm/v7"])
  tags      = [for r in REGISTRIES : "${r}/web:1"]
}
target "api" {
  tags              = flatten([tags("api", ["1", ""])])
  platforms         = PLATFORMS
  dockerfile-inline = <<EOT
FROM scratch
ENV A={1}
EOT
}
target "family" {
  name     = "tool-${v}"
  matrix   = { v = ["1", "2"] }
  args     = { WHEN = timestamp() }
  shm-size = "1g"
  tags     = ["ghcr.io/acme/tool:${v}", title("x")]
}
"""


def test_lists_and_what_stands_in_the_file_itself(tmp_path: Path) -> None:
    found = carried(tmp_path, "docker-bake.hcl", WRITTEN)
    said = table(tmp_path)
    assert said["images"]["web"]["platforms"] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert said["images"]["web"]["registries"] == ["ghcr", "quay-io"]
    assert said["images"]["api"]["registries"] == ["ghcr"]
    assert said["images"]["api"]["containerfile"] == "api.Containerfile"
    assert found.files == {"api.Containerfile": "FROM scratch\nENV A={1}\n"}
    # What a matrix's images share is told once, where it stands.
    assert [(each.line, each.what) for each in found.left_out if "family" in each.what] == [
        (22, "target family: args"),
        (23, "target family: shm-size"),
        (24, "target family: tags"),
    ]


def test_a_bake_file_in_json_has_its_variables_put_in(tmp_path: Path) -> None:
    web = {"context": "${DIR}", "args": {"V": "${upper(DIR)}"}, "platforms": ["linux/${ARCH}"]}
    variables = {"DIR": {"default": "web"}, "ARCH": {"default": "arm64"}}
    carried(tmp_path, "docker-bake.json", json.dumps({"variable": variables, "target": {"a": web}}))
    said = table(tmp_path)
    assert said["defaults"] == {"platforms": ["linux/arm64"]}
    assert said["images"]["a"]["context"] == "web"
    assert said["images"]["a"]["build-args"] == {"V": "WEB"}


def test_a_containerfile_in_a_compose_file_is_written(tmp_path: Path) -> None:
    inline = "dockerfile_inline: |\n        FROM b\n        RUN x$$Y\n"
    text = f"services:\n  a:\n    build:\n      {inline}"
    found = carried(tmp_path, "compose.yaml", text)
    assert found.files == {"a.Containerfile": "FROM b\nRUN x$Y\n"}
    assert table(tmp_path)["images"]["a"]["containerfile"] == "a.Containerfile"
    assert not found.left_out
    unset = carried(tmp_path, "compose.yaml", text.replace("FROM b", "FROM $B"))
    assert not unset.files
    assert [each.what for each in unset.left_out] == ["service a: build.dockerfile_inline"]


ALIKE = """\
x-app: &app {image: acme/app, build: {context: ., args: {A: "1"}}}
services:
  web: *app
  worker: *app
  admin: {image: acme/app, build: {context: ., target: admin}}
  My_Tool: {build: tool}
  my-tool: {build: {context: tool, dockerfile: "${FILE}", ssh: {default: , key: k.pem}}}
  gone: {build: !reset null, image: redis}
  odd:
    build:
      context: ../odd
      args: [{A: b}]
      ssh: default
      additional_contexts: {x: "oci-layout://./x", y: "service:gone"}
      labels: [a]
  slim: {image: "acme/two:slim", build: slim}
  two: {image: "acme/two:latest", build: {context: two, labels: {b: }}}
"""


def test_services_of_one_image_are_one_and_no_two_share_a_name(tmp_path: Path) -> None:
    found = carried(tmp_path, "compose.yaml", ALIKE)
    said = table(tmp_path)
    assert [*said["images"]] == ["app", "admin", "my-tool", "my-tool-2", "odd", "slim", "two"]
    assert said["images"]["slim"]["tags"] == {"suffix": "-slim"}
    assert "tags" not in said["images"]["two"]
    assert said["images"]["two"]["labels"] == {"b": ""}
    assert said["images"]["my-tool-2"]["ssh"] == ["default", "key=k.pem"]
    assert "containerfile" not in said["images"]["my-tool-2"]  # its name is not known here
    assert said["images"]["odd"] == {
        "context": "../odd",
        "containerfile": "../odd/Dockerfile",
        "labels": {"a": ""},
        "publish": False,
    }
    assert "tags there, too" in (tmp_path / "podbuild.toml").read_text()
    assert [(each.line, each.what.partition(": ")[2]) for each in found.left_out] == [
        (7, "build.dockerfile"),
        (12, "build: A"),
        (13, "build.ssh"),
        (14, "build.additional_contexts: x"),
        (14, "build.additional_contexts: y"),
        (11, "build.context"),
        (11, "build.dockerfile"),
    ]


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    for name in ("x.yaml", "."):
        with pytest.raises(ConfigError, match=r"is no plain file"):
            carry_over(tmp_path, name)


RELEASED = """\
variable "WHO" {}
group "default" { targets = ["local", "all", "user"] }
target "app" { tags = ["acme/app"] }
target "local" {
  inherits = ["app"]
  output = ["type=docker"]
}
target "all" {
  inherits = ["app"]
  platforms = ["linux/amd64", "linux/arm64"]
  output = [{ type = "image", compression = "zstd", level = 3 }]
  annotations = ["index:a=b"]
}
target "user" {
  contexts = { base = "target:local", odd = "oci-layout://x" }
  args = { WHO = WHO }
  target = WHO
  tags = ["ghcr.io/acme/user"]
}
"""


def test_targets_of_one_image_are_one(tmp_path: Path) -> None:
    found = carried(tmp_path, "docker-bake.hcl", RELEASED)
    text = (tmp_path / "podbuild.toml").read_text()
    said = table(tmp_path)["images"]
    assert [*said] == ["local", "all", "user"]  # what they make differs
    assert said["all"]["compression"] == "zstd"
    assert said["all"]["annotations"] == {"a": "b"}
    assert "must be set: WHO\n" in text
    assert {(each.line, each.what) for each in found.left_out} == {
        (11, "target all: output"),
        (15, "target user: contexts"),
        (17, "target user: target"),
    }
    carried(tmp_path, "docker-bake.hcl", RELEASED.replace("compression", "name").replace("a=b", ""))
    said = table(tmp_path)["images"]
    assert said["app"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert said["user"]["contexts"] == {"base": "image:app"}


INHERITED = """\
group "default" { targets = ["a"] }
target "base" { args = { KEPT = "1" } }
target "a" {
  inherits = ["base"]
  name = "a-${sanitize(v.n)}"
  matrix = { v = [{ n = "1.0", p = ["linux/amd64"] }, { n = "2.0", p = ["linux/arm64"] }] }
  args = { KEPT = null, N = v.n }
  platforms = v.p
  tags = ["acme/a:${v.n}"]
}
"""


def test_null_takes_nothing_away_and_a_matrix_has_lists(tmp_path: Path) -> None:
    assert carried(tmp_path, "docker-bake.hcl", INHERITED).left_out == ()
    said = table(tmp_path)["images"]
    assert {name: (one["build-args"], one["platforms"]) for name, one in said.items()} == {
        "a-1-0": ({"KEPT": "1", "N": "1.0"}, ["linux/amd64"]),
        "a-2-0": ({"KEPT": "1", "N": "2.0"}, ["linux/arm64"]),
    }


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("{env.DOCKERHUB_USERNAME}/web:1", "docker.io/{env.DOCKERHUB_USERNAME}/web"),
        ("{env.GITHUB_REPOSITORY}", "docker.io/{env.GITHUB_REPOSITORY}"),
        ("{env.REGISTRY}/acme/web", "{env.REGISTRY}/acme/web"),
        ("{env.IMAGE}", "{env.IMAGE}"),
    ],
)
def test_a_variable_is_a_host_or_an_owner_by_its_name(reference: str, repository: str) -> None:
    assert repository_of(reference) == repository
