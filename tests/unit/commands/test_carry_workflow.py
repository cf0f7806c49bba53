"""Workflows of docker's actions as podbuild.toml; the rules are those of their READMEs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from podbuild.commands.carry import Carried, config_text
from podbuild.commands.carry_files import carry_over
from podbuild.config.load import load_config
from podbuild.errors import ConfigError

NAME = ".github/workflows/release.yml"
FAN_OUT = """\
on:
  push:
    branches: [main, "release/**"]
    tags: ["v*"]
env:
  REGISTRY: ghcr.io
jobs:
  build:
    strategy:
      matrix:
        platform: [linux/amd64, linux/arm64]
        include:
          - {platform: linux/arm64, runner: arm}
    steps:
      - uses: actions/checkout@v4
      - id: meta
        uses: docker/metadata-action@v5
        with:
          images: |
            ${{ env.REGISTRY }}/acme/shop
            acme/shop
          tags: |
            # versions
            type=semver,pattern={{version}}
            type=semver,pattern={{major}}.{{minor}}
            type=ref,event=branch
            type=ref,event=pr
            type=sha
            type=sha,format=long
            type=schedule,pattern=nightly-{{date 'YYYYMMDD'}}
            type=match,pattern=v(.*),group=1
          flavor: suffix=-alpine,onlatest=true
      - uses: docker/build-push-action@v6
        with:
          file: docker/Dockerfile
          platforms: ${{ matrix.platform }}
          tags: ${{ steps.meta.outputs.tags }}
          labels: ${{ steps.meta.outputs.labels }}
          build-args: |
            MODE=prod
            REF=${{ github.ref_name }}
            TOKEN=${{ secrets.TOKEN }}
          secrets: |
            npm=${{ secrets.NPM_TOKEN }}
          secret-files: key=./key.pem
          cache-from: type=gha
          outputs: type=image,push-by-digest=true
          shm-size: 1g
  merge:
    needs: build
    steps:
      - run: |
          set -e
          docker buildx imagetools create x
"""
FAMILY = """\
on: push
jobs:
  images:
    strategy:
      matrix:
        image:
          - {name: api, folder: services/api}
          - {name: web, folder: services/web}
    steps:
      - uses: docker/build-push-action@v6
        with:
          context: ${{ matrix.image.folder }}
          platforms: linux/amd64,linux/arm64
          push: true
          network: host
          build-contexts: shared=./shared
          tags: |
            ghcr.io/${{ github.repository_owner }}/${{ matrix.image.name }}:latest
            ghcr.io/${{ github.repository_owner }}/${{ matrix.image.name }}:${{ github.sha }}
"""


def carried(folder: Path, text: str) -> tuple[Carried, dict[str, Any]]:
    path = folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = carry_over(folder, NAME)
    written = config_text(found, file=NAME, project="shop")
    (folder / "podbuild.toml").write_text(written)
    load_config(folder / "podbuild.toml", {})
    return found, tomllib.loads(written)


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)


def test_a_fan_out_is_one_image_with_the_tags_of_its_metadata(tmp_path: Path) -> None:
    found, said = carried(tmp_path, FAN_OUT)
    assert said["defaults"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert said["images"] == {
        "shop": {
            "context": ".",
            "containerfile": "docker/Dockerfile",
            "build-args": {"MODE": "prod", "REF": "{env.GITHUB_REF_NAME}"},
            "secrets": [{"id": "npm", "env": "NPM_TOKEN"}, {"id": "key", "file": "key.pem"}],
        }
    }
    assert said["registries"] == {
        "ghcr": {"kind": "ghcr", "repository": "ghcr.io/acme/{image}"},
        "dockerhub": {"kind": "dockerhub", "repository": "docker.io/acme/{image}"},
    }
    assert said["tags"] == {
        "release": ["{version}", "{major}.{minor}", "latest"],  # a tag of both is refused
        "branches": {
            "main": ["{branch}", "sha-{sha}"],
            "release/*": ["{branch}", "sha-{sha}"],
        },
        "pull-requests": ["pr-{pr}"],
        "schedule": ["nightly-{date}"],
        "suffix": "-alpine",
    }
    left = {each.what: each.line for each in found.left_out}
    assert left == {
        what: line_of(FAN_OUT, part)
        for what, part in (
            ("tags: sha-{sha} of releases", "type=sha"),
            ("tags: type=sha,format=long", "format=long"),
            ("tags: type=match,pattern=v(.*),group=1", "type=match"),
            ("build-args: TOKEN", "TOKEN=${{ secrets.TOKEN"),
            ("build-push-action: cache-from", "cache-from"),
            ("build-push-action: outputs", "push-by-digest"),
            ("build-push-action: shm-size", "shm-size"),
            ("run: docker buildx imagetools create x", "imagetools"),
        )
    }


def test_a_matrix_of_images_is_one_image_each(tmp_path: Path) -> None:
    found, said = carried(tmp_path, FAMILY)
    assert [*said["images"]] == ["api", "web"]
    assert said["images"]["web"] == {
        "context": "services/web",
        "containerfile": "services/web/Dockerfile",
        "network": "host",
        "contexts": {"shared": "./shared"},
    }
    place = "ghcr.io/{env.GITHUB_REPOSITORY_OWNER}/{image}"
    assert said["registries"] == {"ghcr": {"kind": "ghcr", "repository": place}}
    assert {each.line for each in found.left_out} == {
        line_of(FAMILY, ":latest"),
        line_of(FAMILY, "github.sha"),
    }


def test_images_with_flavours_of_their_own_have_tags_of_their_own(tmp_path: Path) -> None:
    step = """\
      - id: m{0}
        uses: docker/metadata-action@v5
        with: {{images: acme/{0}, flavor: suffix=-{0}}}
      - uses: docker/build-push-action@v6
        with: {{context: {0}, tags: "${{{{ steps.m{0}.outputs.tags }}}}"}}
"""
    text = "on: push\njobs:\n  x:\n    steps:\n" + step.format("a") + step.format("b")
    found, said = carried(tmp_path, text)
    assert {name: image["tags"]["suffix"] for name, image in said["images"].items()} == {
        "a": "-a",
        "b": "-b",
    }
    assert "tags" not in said
    # What metadata-action does without tags, of which the README warns.
    assert said["images"]["a"]["tags"]["branches"] == {"*": ["{branch}"]}
    assert any("latest without the suffix" in each.what for each in found.left_out)


STARTER = """\
on:
  push: {branches: [main], tags: ["v*.*.*"]}
env:
  REGISTRY: ghcr.io
  IMAGE_NAME: ${{ github.repository }}
jobs:
  build:
    steps:
      - id: meta
        uses: docker/metadata-action@v5
        with: {images: "${{ env.REGISTRY }}/${{ env.IMAGE_NAME }}"}
      - id: build-and-push
        uses: docker/build-push-action@v5
        with: {context: ., tags: "${{ steps.meta.outputs.tags }}"}
"""


def test_the_workflow_that_github_offers(tmp_path: Path) -> None:
    _, said = carried(tmp_path / "My_Shop", STARTER)
    assert said["images"] == {"my-shop": {"context": ".", "containerfile": "Dockerfile"}}
    repository = "ghcr.io/{env.GITHUB_REPOSITORY}"
    assert said["registries"] == {"ghcr": {"kind": "ghcr", "repository": repository}}
    assert said["tags"]["release"] == ["v{version}", "latest"]


def test_a_matrix_says_platforms_and_files_and_a_clone_has_folders(tmp_path: Path) -> None:
    text = """\
on: push
jobs:
  x:
    strategy:
      matrix:
        include:
          - {image: foo, platforms: linux/amd64}
          - {image: bar, platforms: "linux/amd64,linux/arm64"}
    steps:
      - uses: docker/build-push-action@v6
        with:
          context: "{{defaultContext}}:sub"
          file: ${{ matrix.image }}.Dockerfile
          platforms: ${{ matrix.platforms }}
          tags: ghcr.io/org/${{ matrix.image }}
          ssh: default=${{ env.SSH_AUTH_SOCK }}
          build-args: |
            "B=x y"
            C
"""
    found, said = carried(tmp_path, text)
    assert said["images"]["bar"] == {
        "context": "sub",
        "containerfile": "sub/bar.Dockerfile",
        "platforms": ["linux/amd64", "linux/arm64"],
        "ssh": ["default"],
        "build-args": {"B": "x y"},
    }
    assert said["images"]["foo"]["platforms"] == ["linux/amd64"]
    assert ("build-args: C", line_of(text, "            C")) in [
        (each.what, each.line) for each in found.left_out
    ]


def test_what_a_matrix_excludes_is_not_built_and_called_workflows_are_named(tmp_path: Path) -> None:
    text = """\
on: push
jobs:
  called:
    uses: acme/shared/.github/workflows/build.yml@v1
  x:
    strategy:
      matrix:
        name: [a, b]
        platform: [linux/amd64, linux/arm64]
        exclude: [{name: b, platform: linux/arm64}]
    steps:
      - uses: docker/build-push-action@v6
        with:
          context: ${{ matrix.name }}
          platforms: ${{ matrix.platform }}
          tags: acme/${{ matrix.name }}
"""
    found, said = carried(tmp_path, text)
    assert said["images"]["a"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert said["images"]["b"]["platforms"] == ["linux/amd64"]
    assert found.left_out[0].what == "job called: acme/shared/.github/workflows/build.yml@v1"


def with_metadata(*tags: str, flavor: str = "") -> str:
    """Give a workflow whose one image has the tags that metadata-action makes of rules."""
    rules = "".join(f"            {each}\n" for each in tags)
    return f"""\
on: {{push: {{branches: [main]}}}}
jobs:
  x:
    steps:
      - id: meta
        uses: docker/metadata-action@v5
        with:
          images: acme/shop
          flavor: {flavor}
          tags: |
{rules}      - uses: docker/build-push-action@v6
        with: {{tags: "${{{{ steps.meta.outputs.tags }}}}"}}
"""


@pytest.mark.parametrize(
    ("tags", "expected", "left"),
    [
        ("type=semver,pattern={{raw}}", {"release": ["v{version}", "latest"]}, ""),
        ("type=semver,pattern={{major}},prefix=v", {"release": ["v{major}", "latest"]}, ""),
        ("type=semver,pattern={{version}},value=1.0.0", {}, "value=1.0.0"),
        ("type=edge", {"branches": {"main": ["edge"]}}, ""),
        ("type=edge,branch=next", {"branches": {"next": ["edge"]}}, ""),
        ("type=raw,value=nightly,enable=false", {}, ""),
        ("type=raw,value=dev,enable={{is_default_branch}}", {"branches": {"main": ["dev"]}}, ""),
        ("type=raw,value=stable", {"release": ["stable"]}, "of branches"),
        ("type=raw,value=x,enable=${{ inputs.x }}", {"release": ["x"]}, "enable="),
        ("type=raw,value=${{ steps.x.outputs.y }}", {}, "steps.x"),
        ("type=ref,event=pr,prefix=pull-", {"pull-requests": ["pull-{pr}"]}, ""),
        ("type=schedule,pattern={{date 'HHmm'}}", {}, "HHmm"),
        ("type=new", {}, "type=new"),
        ("type=sha,prefix={{branch}}-", {"branches": {"main": ["{branch}-{sha}"]}}, ""),
        ("type=ref,event=branch,suffix=-{{sha}}", {"branches": {"main": ["{branch}-{sha}"]}}, ""),
        ("type=semver,pattern={{version}},prefix={{branch}}-", {}, "prefix={{branch}}"),
        ("type=sha,enable={{is_default_branch}}", {"branches": {"main": ["sha-{sha}"]}}, ""),
        (
            "type=raw,value=x,enable=${{ github.ref == 'refs/heads/next' }}",
            {"branches": {"next": ["x"]}},
            "",
        ),
        (
            "type=raw,value=x,enable=${{ github.ref == format('refs/heads/{0}', 'next') }}",
            {"branches": {"next": ["x"]}},
            "",
        ),
        (
            "type=raw,value=x,enable=${{ startsWith(github.ref, 'refs/tags/v') }}",
            {"release": ["x"]},
            "",
        ),
        (
            "type=edge,enable=${{ github.ref != github.event.repository.default_branch }}",
            {"branches": {"main": ["edge"]}},
            "enable=",
        ),
        (
            "type=semver,pattern={{major}},enable=${{ !startsWith(github.ref, 'refs/tags/v0.') }}",
            {"release": ["{major}", "latest"]},
            "",
        ),
    ],
)
def test_rules_of_metadata(
    tags: str, expected: dict[str, object], left: str, tmp_path: Path
) -> None:
    text = with_metadata(tags)
    found, said = carried(tmp_path, text)
    assert said.get("tags", {}) == expected
    assert (
        bool([each for each in found.left_out if left in each.what]) if left else not found.left_out
    )
    assert all(each.line == line_of(text, tags) for each in found.left_out)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs: {x: {steps: [{uses: docker/bake-action@v6}]}}", "no step uses"),
        ("jobs: {}", "no step uses"),
        ("jobs: [1]", "no step uses"),
        ("on: push", "neither a compose file nor a workflow"),
        ("on: push\n---\non: push", ":2: expected a single document"),
    ],
)
def test_what_builds_nothing_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        carried(tmp_path, text)
    assert ("--from docker-bake.hcl" in (refused.value.hint or "")) == ("bake-action" in text)


STEP = "jobs: {a: {steps: [{uses: docker/build-push-action@v6, with: {push: false}}]}}\n"
BILLION = "x0: &x0 [a]\n" + "".join(
    f"x{each}: &x{each} [{', '.join([f'*x{each - 1}'] * 9)}]\n" for each in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: " + "[" * 5000, "too deep"),
        ("a: " + "[" * 5000 + "]" * 5000, "too deep"),
        ("a: &a {b: *a}", "too deep"),
        ("a: &a [*a]", "too deep"),
        ("a: &a {<<: *a}", "too deep"),
        ("? [a, b]\n: c", ":2: a key that is no text"),
    ],
)
def test_yaml_that_attacks_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        carried(tmp_path, STEP + text)


def test_few_lines_that_stand_for_a_billion_are_read_once(tmp_path: Path) -> None:
    _, said = carried(tmp_path, BILLION + STEP)
    assert said["images"]


def test_an_architecture_in_tags_and_a_base_that_stays(tmp_path: Path) -> None:
    text = """\
on: {push: {branches: [main], tags: ['v*']}}
jobs:
  x:
    strategy:
      matrix:
        arch: [amd64, arm64]
    steps:
      - uses: docker/build-push-action@v6
        with:
          file: base.Dockerfile
          push: false
          platforms: linux/${{ matrix.arch }}
          tags: acme/base:${{ matrix.arch }}
      - id: meta
        uses: docker/metadata-action@v5
        with:
          images: ghcr.io/acme/web
          flavor: latest=false
          tags: |
            type=semver,pattern={{version}},suffix=-${{ matrix.arch }}
            type=raw,value=rc,enable=${{ startsWith(github.ref, 'x') && !contains(g.ref, '-') }}
            type=raw,value=${{ steps.x.outputs.y }},enable=${{ format('{0}', 'a,b') }}
      - uses: docker/build-push-action@v6
        with:
          context: web
          platforms: linux/${{ matrix.arch }}
          tags: ${{ steps.meta.outputs.tags }}
          outputs: type=local,dest=out
"""
    found, said = carried(tmp_path, text)
    assert said["images"]["base"]["publish"] is False
    assert said["defaults"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert said["images"]["web"]["tags"] == {"release": ["{version}", "rc"]}
    assert [*said["registries"]] == ["ghcr"]
    what = [(each.line, each.what.partition(":")[0]) for each in found.left_out]
    assert {(20, "tags"), (21, "tags"), (22, "tags"), (28, "build-push-action")} <= {*what}
    written = (tmp_path / "podbuild.toml").read_text()
    assert "${{" not in written.partition("# Not carried over")[0]


def test_platforms_that_are_not_known_are_those_of_any_machine(tmp_path: Path) -> None:
    text = STEP.replace(
        "push: false", "push: true, tags: ghcr.io/acme/x, platforms: '${{ env.P }}'"
    )
    found, said = carried(tmp_path, text)
    assert said["defaults"] == {"platforms": ["linux/amd64"]}
    assert "platforms" not in said["images"]["x"]
    assert [each.what for each in found.left_out if "platforms" in each.what]


@pytest.mark.parametrize(
    ("flavor", "expected", "left"),
    [
        (  # a rule's own affix stands in the place of the flavor's
            "prefix=p-,onlatest=true",
            {"release": ["p-{version}-slim", "p-latest"], "branches": {"main": ["sha-{sha}"]}},
            "",
        ),
        (
            "suffix=-s",
            {"release": ["{version}-slim", "latest"], "branches": {"main": ["sha-{sha}-s"]}},
            "",
        ),
        (
            "latest=${{ steps.x.outputs.y }}",
            {"release": ["{version}-slim"], "branches": {"main": ["sha-{sha}"]}},
            "latest=",
        ),
    ],
)
def test_flavors(flavor: str, expected: dict[str, object], left: str, tmp_path: Path) -> None:
    tags = ("type=semver,pattern={{version}},suffix=-slim", "type=sha")
    found, said = carried(tmp_path, with_metadata(*tags, flavor=flavor))
    assert said["tags"] == expected
    assert [left in each.what for each in found.left_out] == ([True] if left else [])


JOINED = """\
on:
  push: {branches: [main, "!old", "v+"], tags: ["v*"]}
env:
  KEPT: ${{ secrets.KEPT }}
jobs:
  build:
    strategy: {matrix: {platform: [linux/amd64, linux/arm64]}}
    if: github.repository == 'acme/shop'
    steps:
      - id: meta
        uses: docker/metadata-action@v5
        with: {images: acme/wrong, tags: type=sha}
      - uses: docker/build-push-action@v6
        with:
          platforms: ${{ matrix.platform }}
          tags: ${{ secrets.DOCKERHUB_USERNAME }}/shop
          labels: |
            ${{ steps.meta.outputs.labels }}
            team=blue
            when=${{ steps.prep.outputs.created }}
          annotations: |
            ${{ steps.meta.outputs.annotations }}
            index,manifest:a=b
          build-args: |
            TEMPLATE={{x}}
            KEPT=${{ env.KEPT }}
          build-contexts: git=https://example.com/a.git
          secrets: |
            own=${{ github.token }}
            odd=${{ steps.x.outputs.token }}
          outputs: type=image,push-by-digest=true,compression=zstd,annotation-index.c=d,odd=1
  merge:
    needs: [build]
    steps:
      - uses: docker/metadata-action@v5
        with:
          images: ${{ secrets.DOCKERHUB_USERNAME }}/shop
          tags: type=semver,pattern={{version}}
          labels: who=joined
"""


def test_a_job_that_joins_says_the_tags_and_nothing_is_silent(tmp_path: Path) -> None:
    found, said = carried(tmp_path, JOINED)
    assert said["images"] == {
        "shop": {
            "context": ".",
            "containerfile": "Dockerfile",
            "labels": {"who": "joined", "team": "blue"},
            "annotations": {"a": "b", "c": "d"},
            "compression": "zstd",
            "build-args": {"TEMPLATE": "{{{{x}}}}"},
            "secrets": [{"id": "own", "env": "GITHUB_TOKEN"}],
        }
    }
    place = "docker.io/{env.DOCKERHUB_USERNAME}/{image}"
    assert said["registries"] == {"dockerhub": {"kind": "dockerhub", "repository": place}}
    assert said["tags"] == {"release": ["{version}", "latest"]}
    text = (tmp_path / "podbuild.toml").read_text()
    assert "must be set: DOCKERHUB_USERNAME\n" in text
    assert {each.what for each in found.left_out} == {
        "branches: !old",
        "branches: v+",
        "if: github.repository == 'acme/shop'",
        "tags: sha-{sha} of releases",
        "labels: when",
        "build-args: KEPT",
        "build-contexts: git",
        "secrets: odd",
        "outputs: odd=1",
        "build-push-action: outputs",
    }


CALLED = """\
inputs:
  file: {default: tool.Dockerfile}
  image: {required: true}
runs:
  using: composite
  steps:
    - uses: docker/build-push-action@v6
      with: {load: true, file: "${{ inputs.file }}", tags: "acme/tool:test"}
    - uses: docker/build-push-action@v6
      with: {push: true, file: "${{ inputs.file }}", tags: "acme/tool", platforms: linux/arm64}
"""


def test_an_action_with_defaults_and_a_step_that_only_tries(tmp_path: Path) -> None:
    found, said = carried(tmp_path, CALLED)
    assert said["images"] == {"tool": {"context": ".", "containerfile": "tool.Dockerfile"}}
    assert said["defaults"]["platforms"] == ["linux/arm64"]
    assert (2, "inputs.file") in [(each.line, each.what) for each in found.left_out]


def test_tags_of_another_job_and_folders_of_one_name(tmp_path: Path) -> None:
    text = """\
on: {push: {branches: [main]}}
jobs:
  meta:
    outputs: {tags: "${{ steps.m.outputs.tags }}"}
    steps:
      - {id: m, uses: docker/metadata-action@v5, with: {images: quay.io/acme/x, tags: type=edge}}
  build:
    needs: meta
    strategy: {matrix: {os: [debian, alpine]}}
    steps:
      - uses: docker/build-push-action@v6
        with: {context: "${{ matrix.os }}/1", tags: "${{ needs.meta.outputs.tags }}"}
"""
    _, said = carried(tmp_path, text)
    assert [*said["images"]] == ["debian-1", "alpine-1"]
    assert said["tags"] == {"branches": {"main": ["edge"]}}
    assert said["registries"]["quay-io"]["repository"] == "quay.io/acme/x"


APART = """\
on: {push: {branches: [main]}}
jobs:
  x:
    steps:
      - {id: m, uses: docker/metadata-action@v5, with: {images: acme/app, tags: type=edge}}
      - uses: docker/build-push-action@v6
        with: {tags: "${{ steps.m.outputs.tags }}"}
      - uses: docker/build-push-action@v6
        with: {file: a.Dockerfile, tags: "acme/a:${{ steps.m.outputs.version }}"}
      - uses: docker/build-push-action@v6
        with:
          file: b.Dockerfile
          platforms: linux/amd64,windows/amd64
          build-contexts: base=target:x
          tags: ${{ steps.odd.outputs.tags }}
      - uses: docker/build-push-action@v6
        with:
          context: ../c
          tags: |
            # where it goes
            acme/c
"""


def test_no_step_takes_the_tags_of_another(tmp_path: Path) -> None:
    found, said = carried(tmp_path, APART)
    assert said["registries"]["dockerhub"]["repository"] == "docker.io/acme/{image}"
    assert len(said["registries"]) == 1
    assert {
        name: (one.get("tags"), one.get("publish")) for name, one in said["images"].items()
    } == {
        "app": ({"branches": {"main": ["edge"]}}, None),
        "a": (None, None),
        "b": (None, False),
        "c": (None, None),
    }
    assert said["images"]["b"]["platforms"] == ["linux/amd64"]
    assert [(each.line, each.what) for each in found.left_out] == [
        (9, "tags: acme/a:${{ steps.m.outputs.version }}"),
        (13, "build-push-action: platforms"),
        (14, "build-contexts: base"),
        (15, "tags: ${{ steps.odd.outputs.tags }}"),
        (18, "build-push-action: context"),
        (18, "build-push-action: containerfile"),
        (21, "the tag of acme/c"),
    ]
