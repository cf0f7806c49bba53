"""How an image was made, as SLSA provenance v1 (https://slsa.dev/spec/v1.1/provenance).

A function of the build: no times, no names of machines or users. Values that come from the
environment stand as their template, secrets by their id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from podbuild import __version__
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Reference
from podbuild.plan.destination import Planned
from podbuild.plan.model import Job, Plan
from podbuild.system.records import JSONValue

if TYPE_CHECKING:
    from podbuild.build.inputs.recipe import Recipe  # costs time

BUILD_TYPE = "https://podbuild.github.io/supply-chain#image-v1"
INDEX_TYPE = "https://podbuild.github.io/supply-chain#index-v1"
LOCAL = "https://podbuild.github.io/supply-chain#local"
_HUB = "docker.io/"


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Who builds: its id, and the run. Elsewhere than on GitHub and GitLab nobody is named."""

    identity: str = LOCAL
    invocation: str = ""
    repository: str = ""  # URL of the source, where the CI system says it

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Builder:
        """Read the variables of GitHub Actions (as actions/attest does) or GitLab CI."""
        get = environment.get
        if get("GITHUB_ACTIONS") and get("GITHUB_WORKFLOW_REF"):
            here = f"{get('GITHUB_SERVER_URL', 'https://github.com')}/{get('GITHUB_REPOSITORY')}"
            run = f"{get('GITHUB_RUN_ID')}/attempts/{get('GITHUB_RUN_ATTEMPT', '1')}"
            return cls(
                identity=f"https://github.com/{get('GITHUB_WORKFLOW_REF')}",
                invocation=f"{here}/actions/runs/{run}",
                repository=here,
            )
        if get("GITLAB_CI") and get("CI_PROJECT_URL"):
            config = get("CI_CONFIG_PATH") or ".gitlab-ci.yml"
            ref = get("CI_COMMIT_REF_NAME", "")
            return cls(
                identity=f"{get('CI_PROJECT_URL')}//{config}@{ref}",
                invocation=get("CI_JOB_URL", ""),
                repository=get("CI_PROJECT_URL", ""),
            )
        return cls()


@dataclass(frozen=True, kw_only=True)
class Making:
    """How one image for one platform was made."""

    recipe: Recipe
    inputs: str  # the input hash
    engine: str  # such as buildah 1.43.2
    inner: Mapping[Job, Manifest] = field(repr=False)  # what is staged of the images it builds on
    here: bool = True  # made by this run, so that this run may be named


def image_provenance(
    planned: Planned, source: str, builder: Builder, making: Making
) -> dict[str, JSONValue]:
    """Give the predicate for one image; `source` is the project's URL."""
    plan, recipe = planned.plan, making.recipe
    git = _git(planned, source or builder.repository)
    image = plan.image(recipe.job.image)
    written = image.image.build_args
    arguments: dict[str, JSONValue] = {
        name: written[name].text if name in written and written[name].variables else value
        for name, value in recipe.build_args.items()
    }
    external: dict[str, JSONValue] = {
        "image": recipe.job.image,
        "platform": str(recipe.job.platform),
        "containerfile": _below(plan, str(recipe.containerfile)),
        "context": _below(plan, str(recipe.context)),
        "target": recipe.target,
        "buildArgs": arguments,
        "secrets": [*sorted(secret.id for secret in recipe.secrets)],
        "ssh": [*sorted(entry.partition("=")[0] for entry in recipe.ssh)],
        "source": git,
    }
    internal: dict[str, JSONValue] = {
        "inputs": making.inputs,
        "engine": making.engine,
        "format": recipe.format.value,
        "compression": recipe.compression.value,
        "layers": recipe.layers,
        "network": recipe.network.value,
        "instant": recipe.instant,
    }
    depends = [*_sources(git), *_dependencies(recipe, making.inner)]
    return _predicate(
        BUILD_TYPE, external, internal, depends, builder, making.engine, here=making.here
    )


def index_provenance(
    planned: Planned,
    source: str,
    builder: Builder,
    name: str,
    children: Iterable[tuple[str, Digest, str]],
) -> dict[str, JSONValue]:
    """Give the predicate for an index; `children` are platform, digest and origin."""
    git = _git(planned, source or builder.repository)
    depends: list[JSONValue] = [
        {
            "uri": f"pkg:oci/{name}?platform={_quoted(platform)}",
            "digest": {digest.algorithm: digest.hex},
            "annotations": {"platform": platform, "origin": origin},
        }
        for platform, digest, origin in children
    ]
    external: dict[str, JSONValue] = {"image": name, "source": git}
    return _predicate(INDEX_TYPE, external, {}, [*_sources(git), *depends], builder, "", here=True)


def _predicate(
    kind: str,
    external: dict[str, JSONValue],
    internal: dict[str, JSONValue],
    depends: list[JSONValue],
    builder: Builder,
    engine: str,
    *,
    here: bool,
) -> dict[str, JSONValue]:
    tool, _, version = engine.partition(" ")
    versions: dict[str, JSONValue] = {"podbuild": __version__}
    versions |= {tool: version} if tool and version else {}
    run: dict[str, JSONValue] = {"builder": {"id": builder.identity, "version": versions}}
    if here and builder.invocation:
        run["metadata"] = {"invocationId": builder.invocation}
    return {
        "buildDefinition": {
            "buildType": kind,
            "externalParameters": external,
            "internalParameters": internal,
            "resolvedDependencies": depends,
        },
        "runDetails": run,
    }


def _git(planned: Planned, source: str) -> dict[str, JSONValue]:
    """Give the commit; a tree with changes is no commit's, and says so."""
    commit = planned.plan.source
    if commit.dirty:
        return {"dirty": True}
    if not commit.commit:
        return {}
    found: dict[str, JSONValue] = {"digest": {"gitCommit": commit.commit}}
    if source:
        ref = f"refs/heads/{commit.branch}" if commit.branch else ""
        ref = f"refs/tags/{planned.tag}" if planned.tag else ref
        found["uri"] = f"git+{source}" + (f"@{ref}" if ref else "")
    return found


def _sources(git: dict[str, JSONValue]) -> list[JSONValue]:
    return [git] if "digest" in git else []


def _dependencies(recipe: Recipe, inner: Mapping[Job, Manifest]) -> Iterator[JSONValue]:
    platform = str(recipe.job.platform)
    for written, pin in sorted(recipe.pins.items()):
        yield _base(written, pin, platform)
    for job in recipe.inner.jobs:
        if job in inner:
            digest = inner[job].digest
            uri = f"pkg:oci/{job.image}?platform={_quoted(str(job.platform))}"
            yield {"uri": uri, "digest": {digest.algorithm: digest.hex}}
    yield from _downloads(recipe)


def _base(written: str, pin: str, platform: str) -> JSONValue:
    """Name a base as BuildKit does: pkg:docker/NAME@TAG?platform=..."""
    reference = Reference.parse(pin)
    name = str(reference.repository).removeprefix(_HUB).removeprefix("library/")
    tag = written.partition("@")[0].rpartition("/")[2].partition(":")[2]
    uri = f"pkg:docker/{name}" + (f"@{tag}" if tag else "") + f"?platform={_quoted(platform)}"
    target = reference.target
    if not isinstance(target, Digest):
        return {"uri": uri}
    return {"uri": uri, "digest": {target.algorithm: target.hex}}


def _downloads(recipe: Recipe) -> Iterator[JSONValue]:
    """Give what ADD --checksum fetches."""
    found: dict[str, str] = {}
    for stage in recipe.parsed.needed(recipe.target, recipe.variables):
        for instruction, known in recipe.parsed.walk(stage, recipe.variables):
            checksum = instruction.flag("checksum") if instruction.word == "ADD" else None
            for word in instruction.words[:-1] if checksum else ():
                found[instruction.expand(word, known)] = str(checksum)
    for uri, checksum in sorted(found.items()):
        try:
            digest = Digest(checksum)
        except PodbuildError:  # git's checksums are commits, which the URL may name
            yield {"uri": uri, "digest": {"gitCommit": checksum}}
        else:
            yield {"uri": uri, "digest": {digest.algorithm: digest.hex}}


def _below(plan: Plan, path: str) -> str:
    """Give a path as the project's files have it, never a folder of this machine."""
    root = f"{plan.root}/"
    if path == str(plan.root):
        return "."
    return path.removeprefix(root) if path.startswith(root) else "outside the project"


def _quoted(platform: str) -> str:
    return platform.replace("/", "%2F")
