"""Argument lists for both engines. Pure: values in, words out, secrets never among them.

Facts and flags: buildah-build(1), buildah-push(1), buildah-manifest(1) and podman's of the same
names, buildah 1.41 / podman 5.6 and newer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.refusals import engine_network
from podbuild.build.toolchain.model import Engine, EngineKind
from podbuild.config.choices import Compression, Pull
from podbuild.oci.names import Platform

ZSTD_LEVEL = "3"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What an engine's command line has that the other's has not."""

    list_policy: bool  # `manifest push` takes --signature-policy
    list_retry: bool  # `manifest push` takes --retry
    drop_ins: bool  # --registries-conf-dir names the folder of drop-ins
    list_csv: bool  # `manifest create` reads --annotation as a line of CSV
    remove_containers: tuple[str, ...]


BUILDAH = Dialect(
    list_policy=True,
    list_retry=True,
    drop_ins=True,
    list_csv=True,
    remove_containers=("rm",),
)
# `rm --all` of podman passes over the containers of builds.
PODMAN = Dialect(
    list_policy=False,
    list_retry=False,
    drop_ins=False,
    list_csv=False,
    remove_containers=("rm", "--force", "--time=0"),
)
_DIALECTS = {EngineKind.BUILDAH: BUILDAH, EngineKind.PODMAN: PODMAN}


@dataclass(frozen=True, kw_only=True)
class BuildOrder:
    """One build: the recipe and what belongs to this run alone.

    `bases` name the images of this project that it builds on: context name -> image id in the
    engine's storage; `folders` are its extra contexts. `secrets` say where the engine finds a
    secret's value: `env=NAME` or `src=FILE`. With a `destination` the result is delivered there
    at once, else it stays in the storage; its id is written to the `iidfile`. `cache_from`
    and `cache_to` are repositories without a tag; with `cache_to` the result must stay in the
    storage, as it is pushed from there. Without `proxies` RUN does not get those of the engine.
    `containerfile` and `target` stand for the recipe's where the file was rewritten.
    """

    recipe: Recipe
    ignorefile: Path
    bases: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    destination: str | None = None
    iidfile: Path | None = None
    no_cache: bool = False
    cache_from: str = ""
    cache_to: str = ""
    proxies: bool = True
    containerfile: Path | None = None
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """Builds argument lists for one engine with its generated configuration."""

    engine: Engine
    registries: Path  # registries.conf
    policy: Path  # policy.json
    certificates: Path | None = None  # folder with CAs of the registries that bases come from

    @property
    def dialect(self) -> Dialect:
        """Give what is special about this engine."""
        return _DIALECTS[self.engine.kind]

    def build(self, order: BuildOrder) -> tuple[str, ...]:
        """Give the argv of one build."""
        return (
            *self._start("build"),
            *self._trust(),
            *_build_options(order),
            str(order.recipe.context),
        )

    def push(self, image: str, destination: str, compression: Compression) -> tuple[str, ...]:
        """Give the argv that delivers an image of the storage."""
        options = ["--quiet", "--retry=0", f"--signature-policy={self.policy}"]
        if compression is Compression.ZSTD:
            # docker format knows no zstd; the config loses what OCI's has no name for
            options += ["--format=oci", "--compression-format=zstd"]
            options.append(f"--compression-level={ZSTD_LEVEL}")
        return (*self._start("push"), *options, image, destination)

    def create_list(
        self, name: str, members: tuple[str, ...], annotations: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Give the argv that makes a list with members and annotations."""
        texts = (f"{key}={value}" for key, value in sorted(annotations.items()))
        options = (f"--annotation={_whole(t) if self.dialect.list_csv else t}" for t in texts)
        return (*self._start("manifest", "create"), *options, name, *members)

    def push_list(self, name: str, destination: str) -> tuple[str, ...]:
        """Give the argv that delivers a list alone, without its members, and removes it here."""
        options = ["--all=false", "--rm"]
        if self.dialect.list_policy:
            options.append(f"--signature-policy={self.policy}")
        if self.dialect.list_retry:
            options.append("--retry=0")
        return (*self._start("manifest", "push"), *options, name, destination)

    def remove_containers(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Give the argv that removes working containers of the storage."""
        return self._start(*self.dialect.remove_containers, *ids)

    def pull(self, reference: str, platform: Platform | None = None) -> tuple[str, ...]:
        """Give the argv that fetches an image into the storage, known layers excepted."""
        return (
            *self._start("pull"),
            "--quiet",
            "--policy=always",
            *([f"--platform={platform}"] if platform else []),
            *self._trust(),
            reference,
        )

    def _trust(self) -> Iterator[str]:
        yield f"--signature-policy={self.policy}"
        if self.certificates:
            yield f"--cert-dir={self.certificates}"

    def _start(self, *command: str) -> tuple[str, ...]:
        options = [f"--registries-conf={self.registries}"]
        if self.dialect.drop_ins:  # the user's are in that file; here they would win over it
            options.append(f"--registries-conf-dir={self.registries}.d")
        return (str(self.engine.path), *options, *command)


def _build_options(order: BuildOrder) -> Iterator[str]:
    recipe = order.recipe
    yield f"--file={_whole(str(order.containerfile or recipe.containerfile))}"
    yield f"--platform={recipe.job.platform}"
    yield "--format=docker"  # the only one in which SHELL, ONBUILD and HEALTHCHECK count
    yield f"--layers={_truth(recipe.layers)}"
    yield f"--timestamp={recipe.instant}"
    yield "--identity-label=false"
    yield "--no-hostname"  # what RUN writes to /etc/hostname is the image's
    yield f"--isolation={recipe.isolation}"
    yield f"--network={engine_network(recipe.isolation, recipe.network)}"
    never = recipe.pull is Pull.NEVER or recipe.without_network
    yield f"--pull={Pull.NEVER if never else Pull.MISSING}"
    yield "--retry=0"
    yield f"--ignorefile={order.ignorefile}"
    if target := order.target or recipe.target:
        yield f"--target={target}"
    if not order.proxies:
        yield "--http-proxy=false"
    yield from _cache(order)
    for key, value in sorted(recipe.handed_arguments.items()):
        yield f"--build-arg={key}={value}"
    yield from _contexts(order)
    for name, place in sorted(order.secrets.items()):
        yield f"--secret=id={name},{place}"
    for agent in recipe.ssh:
        yield f"--ssh={agent}"
    if order.iidfile:
        yield f"--iidfile={order.iidfile}"
    if order.destination:
        yield f"--tag={order.destination}"


def _cache(order: BuildOrder) -> Iterator[str]:
    if order.no_cache:
        yield "--no-cache"
    if order.cache_from:
        yield f"--cache-from={order.cache_from}"
    if order.cache_to:
        yield f"--cache-to={order.cache_to}"


def _contexts(order: BuildOrder) -> Iterator[str]:
    """Replace outside names by what they are pinned to; the Containerfile stays as it is.

    Engines compare them with what is written, `${BASE}` as such and not what it stands for.
    """
    recipe = order.recipe
    found = {name: str(folder) for name, folder in order.folders.items()}
    found |= {name: f"docker-image://{pin}" for name, pin in recipe.pins.items()}
    found |= {name: f"docker-image://{image}" for name, image in order.bases.items()}
    for reference in recipe.parsed.outside(recipe.variables, target=recipe.target):
        if reference.value in found:
            found.setdefault(reference.text, found[reference.value])
    for name, place in sorted(found.items()):
        yield f"--build-context={name}={place}"


def _whole(value: str) -> str:
    """Quote what engines would split at its commas: they read some flags as a line of CSV.

    >>> print(_whole("acme, inc/Containerfile"))
    "acme, inc/Containerfile"
    """
    special = any(mark in value for mark in ',"\r\n')
    return '"{}"'.format(value.replace('"', '""')) if special else value


def _truth(value: bool) -> str:
    return "true" if value else "false"
