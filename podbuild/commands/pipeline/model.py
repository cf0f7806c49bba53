"""What a pipeline is made of, whatever the CI system: legs, the join, variables, triggers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from podbuild.build.attest.keyless import TOKEN
from podbuild.config.builders import Carrier
from podbuild.config.load import used_variables
from podbuild.config.model import Config
from podbuild.config.template import Template
from podbuild.errors import ConfigError
from podbuild.oci import kinds
from podbuild.oci.auth.credentials import token_variables
from podbuild.oci.names import GHCR, Platform, RegistryKind
from podbuild.system.records import JSONValue

MOST_LEGS = 256  # jobs that GitHub takes in one matrix
_GITHUB_RUNNERS = {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
_GITLAB_RUNNERS = {"amd64": "saas-linux-medium-amd64", "arm64": "saas-linux-medium-arm64"}
_NODES = {each: each for each in ("amd64", "arm64", "s390x", "ppc64le", "riscv64")}


class CiSystem(StrEnum):
    """Where pipelines run."""

    GITHUB = "github"
    GITLAB = "gitlab"
    KUBERNETES = "kubernetes"
    TEKTON = "tekton"


_RUNNERS = {
    CiSystem.GITHUB: _GITHUB_RUNNERS,
    CiSystem.GITLAB: _GITLAB_RUNNERS,
    CiSystem.KUBERNETES: _NODES,
    CiSystem.TEKTON: _NODES,
}


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One job: a platform, and the images of a slice (none: all)."""

    platform: Platform
    runner: str
    images: tuple[str, ...] = ()
    part: int = 0  # from 1 on where a platform has several legs

    @property
    def slug(self) -> str:
        """Give its name for tags, files and jobs: linux-arm64, or linux-arm64-2."""
        return f"{self.platform.slug}-{self.part}" if self.part else self.platform.slug

    def to_json(self) -> dict[str, JSONValue]:
        """Give it as an entry of a matrix."""
        return {
            "platform": str(self.platform),
            "slug": self.slug,
            "runner": self.runner,
            "images": " ".join(self.images),
        }


@dataclass(frozen=True, order=True)
class Variable:
    """A variable that podbuild reads, and whether its value is a secret."""

    name: str
    secret: bool


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What is the same for every CI system."""

    system: CiSystem
    project: str
    source: str
    tag_form: str  # with {version}; empty: a version with or without v
    branches: tuple[str, ...]
    legs: tuple[Leg, ...]
    carrier: Carrier
    repository: str  # where legs hand over, as a shell writes it
    tag_children: bool
    environment: str
    image: str
    signs: bool
    keyless: bool  # signs with the token that the CI system gives a job
    packages: bool  # GitHub's registry is written to
    leg_variables: tuple[Variable, ...]
    join_variables: tuple[Variable, ...]
    file: str = ""  # podbuild.toml from the top of the repository, where it is not there
    output: str = "dist"  # the output folder, from there too

    @property
    def is_single(self) -> bool:
        """Tell whether there is nothing to fan out."""
        return len(self.legs) == 1

    @property
    def extras(self) -> str:
        """Give what is installed."""
        if not self.signs:
            return "podbuild[toolchain]"
        return f"podbuild[toolchain,{'keyless' if self.keyless else 'sign'}]"

    @property
    def facts(self) -> dict[str, list[str]]:
        """Give what the pipeline was made of, by name."""
        legs = {
            f"{each.slug} on {each.runner}" + (f": {' '.join(each.images)}" if each.images else "")
            for each in self.legs
        }
        names = {each.name for each in (*self.leg_variables, *self.join_variables)}
        found = {
            "system": [self.system.value],
            "file": [self.file],
            "legs": sorted(legs),
            "tags": [self.tag_form or "{version}"],
            "branches": [*self.branches],
            "variables": sorted(names),
            "hand-over": [self.carrier.value, self.repository],
            "tag-children": ["true"] * self.tag_children,
            "environment": [self.environment],
            "image": [self.image],
            "keyless": ["true"] * self.keyless,
        }
        return {name: kept for name, value in found.items() if (kept := [*filter(None, value)])}


def make_pipeline(config: Config, system: CiSystem, top: Path | None = None) -> Pipeline:
    """Give the pipeline of a project in the repository at `top`.

    Raises ConfigError for one that can't be made.
    """
    ci = config.ci
    legs = make_legs(config, system, slices=ci.slices)
    single = len(legs) == 1
    carrier = ci.hand_over
    if not single and system in (CiSystem.KUBERNETES, CiSystem.TEKTON):
        carrier = _without_artifacts(carrier, system)
    pushes = single or carrier is not Carrier.WHOLE
    repository = ""
    if not single and carrier is Carrier.REGISTRY:
        repository = _hand_over_repository(config)
    legs_need = _leg_variables(config, pushes=pushes)
    join = _join_variables(config, system)
    hosts = {each.host for each in config.registries} | _cache_hosts(config)
    hosts |= _host(config.history.repository)
    top = config.root if top is None else top
    return Pipeline(
        system=system,
        file=os.path.relpath(config.path, top) if config.root != top else "",
        output=os.path.relpath(config.output, top),
        project=config.project.name,
        source=config.project.source,
        tag_form=config.project.tag,
        branches=_branches(config),
        legs=legs,
        carrier=carrier,
        repository=repository,
        tag_children=ci.tag_children and pushes and not single,
        environment=ci.environment,
        image=ci.image,
        signs=bool(config.attest and config.attest.sign),
        keyless=bool(config.attest and config.attest.sign and config.attest.sign.keyless),
        packages=GHCR in hosts,
        leg_variables=legs_need,
        join_variables=_distinct((*legs_need, *join)) if single else join,
    )


def _settings(config: Config) -> Iterator[Variable]:
    return (Variable(name, secret=False) for name in sorted(used_variables(config)))


def _leg_variables(config: Config, *, pushes: bool) -> tuple[Variable, ...]:
    """Give what a leg needs: the secrets of builds, the logins of what it reads and pushes to."""
    secrets = {s.env for image in config.images for s in image.secrets if s.env}
    build = (Variable(name, secret=True) for name in sorted(secrets))
    pushing = (*_logins(config), *_check_secrets(config)) if pushes else ()
    return _distinct((*build, *_cache_login(config), *pushing, *_settings(config)))


def _join_variables(config: Config, system: CiSystem) -> tuple[Variable, ...]:
    """Give what the join needs: every login, what judges and signs, and who is told."""
    known = (*_logins(config), *_cache_login(config), *_history_login(config))
    wanted = (*_check_secrets(config), *_signing(config, system), *_telling(config))
    return _distinct((*known, *wanted, *_settings(config)))


def _check_secrets(config: Config) -> Iterator[Variable]:
    """Give what commands of `[[checks]]` need: they run where images are pushed, and joined."""
    return (Variable(name, secret=True) for each in config.checks for name in each.env)


def _signing(config: Config, system: CiSystem) -> Iterator[Variable]:
    sign = config.attest.sign if config.attest else None
    if sign is None:
        return
    if sign.keyless:
        # GitHub and GitLab give a job its token themselves; elsewhere somebody has to.
        if system in (CiSystem.KUBERNETES, CiSystem.TEKTON):
            yield Variable(TOKEN, secret=True)
        return
    scheme, _, name = sign.private.partition(":")
    if scheme == "env":
        yield Variable(name, secret=True)
    yield Variable("PODBUILD_SIGN_PASSWORD", secret=True)


def _telling(config: Config) -> Iterator[Variable]:
    names = (config.notify.webhook_env, *config.notify.env)
    return (Variable(name, secret=True) for name in names if name)


def make_legs(
    config: Config,
    system: CiSystem,
    *,
    slices: int,
    changed: Mapping[Platform, tuple[str, ...]] | None = None,
) -> tuple[Leg, ...]:
    """Give the legs that build a project; of what has `changed`, where that is known.

    There is always one: who joins waits for it. Raises ConfigError for too many.
    """
    published = [image for image in config.images if image.publish] or [*config.images]
    platforms = dict.fromkeys(platform for image in published for platform in image.platforms)
    legs: list[Leg] = []
    for platform in platforms:
        every = tuple(image.name for image in published if platform in image.platforms)
        wanted = every if changed is None else changed.get(platform, ())
        if not wanted:
            continue
        parts = split(wanted, slices)
        runner = runner_of(config, system, platform)
        if len(parts) == 1:
            images = () if len(wanted) == len(published) or wanted == every else wanted
            legs.append(Leg(platform=platform, runner=runner, images=images))
            continue
        legs += [
            Leg(platform=platform, runner=runner, images=images, part=part)
            for part, images in enumerate(parts, start=1)
        ]
    if len(legs) > MOST_LEGS:
        raise ConfigError(
            f"{len(platforms)} platforms x {slices} slices are {len(legs)} legs, and "
            f"{MOST_LEGS} is the most that a matrix has",
            hint=f"at most {MOST_LEGS // len(platforms)} slices",
        )
    if not legs:
        first = next(iter(platforms))
        legs = [Leg(platform=first, runner=runner_of(config, system, first))]
    return tuple(legs)


def split(images: tuple[str, ...], slices: int) -> tuple[tuple[str, ...], ...]:
    """Share images among slices, neighbours together; never an empty one.

    >>> split(("a", "b", "c", "d", "e"), 2)
    (('a', 'b', 'c'), ('d', 'e'))
    """
    count = min(slices, len(images))
    size, more = divmod(len(images), count)
    found, start = [], 0
    for part in range(count):
        end = start + size + (part < more)
        found.append(images[start:end])
        start = end
    return tuple(found)


def runner_of(config: Config, system: CiSystem, platform: Platform) -> str:
    """Give who builds a platform: natively where it is known how, else with emulation."""
    known = _RUNNERS[system]
    default = known.get(platform.architecture, known["amd64"])
    return default if known is _NODES else config.ci.runners.get(str(platform), default)


def _without_artifacts(carrier: Carrier, system: CiSystem) -> Carrier:
    if carrier is Carrier.REGISTRY:
        return carrier
    raise ConfigError(
        f"[ci] hand-over = {carrier.value!r}: {system} keeps no artifacts",
        hint='hand-over = "registry"',
    )


def _hand_over_repository(config: Config) -> str:
    """Give where legs hand over, as a shell writes it: beside the layer cache, else the images.

    Raises ConfigError where there is no such place.
    """
    templates = [config.cache.repository, *(each.repository for each in config.registries)]
    for template in templates:
        if template is not None and not _odd_names(template):
            return _repository_text(config, template)
    if all(each.kind is RegistryKind.LAYOUT for each in config.registries):
        raise ConfigError(
            "no registry can keep what legs hand over: images go to folders",
            hint='write [registries.ghcr] with repository = "ghcr.io/OWNER/{image}", or another',
        )
    raise ConfigError(
        "[ci] hand-over: no registry can keep what legs hand over",
        hint='hand-over = "whole", or a registry whose repository has no {version} or {branch}',
    )


def _odd_names(template: Template) -> set[str]:
    known = {"project", "image"}
    return {name for name in template.names if name not in known and not name.startswith("env.")}


def _repository_text(config: Config, template: Template) -> str:
    project = config.project.name.lower()
    parts = []
    for part in template.parts:
        if not part.is_placeholder:
            parts.append(part.text.lower())
        elif part.text.startswith("env."):
            parts.append(f"${{{part.text.removeprefix('env.')}}}")
        else:
            parts.append(f"{project}-hand-over" if part.text == "image" else project)
    return "".join(parts)


def _branches(config: Config) -> tuple[str, ...]:
    """Give the branches that get tags, in the order in which they are written."""
    rules: list[Iterable[str]] = [config.tags.branches]
    rules += [image.tags.branches or {} for image in config.images]
    return tuple(dict.fromkeys(branch for rule in rules for branch in rule))


def _cache_hosts(config: Config) -> set[str]:
    return _host(config.cache.repository)


def _host(template: Template | None) -> set[str]:
    return {template.text.partition("/")[0]} if template else set()


def _logins(config: Config) -> Iterator[Variable]:
    """Give the variables of all registries that are pushed to, and of the cache."""
    for registry in config.registries:
        if registry.host:
            yield from _login(registry.host, registry.name)
    yield from _cache_login(config)


def _cache_login(config: Config) -> tuple[Variable, ...]:
    return _place_login(config, _cache_hosts(config))


def _history_login(config: Config) -> tuple[Variable, ...]:
    return _place_login(config, _host(config.history.repository))


def _place_login(config: Config, hosts: set[str]) -> tuple[Variable, ...]:
    """Give the login of a place beside images: a configured registry's there, else the cache's."""
    found: list[Variable] = []
    for host in hosts:
        known = next((each.name for each in config.registries if each.host == host), "cache")
        found += _login(host, known)
    return tuple(found)


def _login(host: str, name: str) -> Iterator[Variable]:
    home = kinds.home_of(host)
    user, token = (home.user, home.token) if home else token_variables(name)
    yield Variable(user, secret=False)
    yield Variable(token, secret=True)


def _distinct(variables: Iterable[Variable]) -> tuple[Variable, ...]:
    return tuple({each.name: each for each in variables}.values())
