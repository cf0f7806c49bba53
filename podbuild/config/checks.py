"""What only the whole configuration can show to be wrong."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from podbuild.config.attest import Placement
from podbuild.config.choices import Compression, Format, OpenContext
from podbuild.config.image import Image
from podbuild.config.keys import Invalid
from podbuild.config.model import Config, Registry, TagRules
from podbuild.config.secrecy import check_commands, check_tests, names_platforms
from podbuild.config.template import VERSION_NAMES, Placeholders, Template
from podbuild.errors import PodbuildError, VersionError
from podbuild.oci.auth.credentials import token_variables
from podbuild.oci.names import RegistryKind, Repository
from podbuild.semver import Version

Way = tuple[str | int, ...]
_LASTING = frozenset({"project", "image"})  # placeholders that every run fills alike


def check(config: Config, document: Mapping[str, object]) -> None:
    """Raise Invalid for the first thing that is wrong; `document` is the TOML it came from."""
    for image in config.images:
        _check_names(config, image)
        _check_settings(image, document)
        check_tests(image)
    _check_graph(config)
    for registry in config.registries:
        _check_registry(registry)
    _check_kept(config)
    _check_placement(config)
    _check_variables(config)
    _check_output(config)
    _check_tags(("tags",), config.tags)
    _check_yanked(config)
    _check_ignored(config)
    _check_deployments(config)
    _check_placeholders(config)
    _check_runners(config)
    check_commands(config)
    for image in config.images:
        way: Way = ("images", image.name, "tags")
        _check_tags(way, config.tags_of(image))


def check_contexts(config: Config) -> None:
    """Raise Invalid for the first image that builds on what it can't, its contexts being known."""
    for image in config.images:
        _check_inner(config, image)
    _check_graph(config)


def _check_graph(config: Config) -> None:
    _check_cycles(config)
    _check_platforms(config)


def _check_yanked(config: Config) -> None:
    """Versions are read by the scheme that [project] names."""
    rules: list[tuple[Way, TagRules]] = [(("tags",), config.tags)]
    rules += [(("images", each.name, "tags"), config.tags_of(each)) for each in config.images]
    for way, found in rules:
        for place, version in enumerate(found.yanked):
            try:
                Version.parse(str(version), config.project.scheme)
            except VersionError as wrong:
                raise Invalid(
                    wrong.message, hint=wrong.hint, path=(*way, "yanked", place)
                ) from None


def _check_ignored(config: Config) -> None:
    images = [each.name for each in config.images]
    for place, text in enumerate(config.audit.ignore):
        image = text.rpartition(":")[0]
        if image and image not in images:
            raise _no_such(image, images, "image", ("audit", "ignore", place))


def _check_placeholders(config: Config) -> None:
    """Refuse {pr} and {date} where they would be inputs, or name a place."""
    for image in config.images:
        way: Way = ("images", image.name)
        for name, template in image.build_args.items():
            _refuse_placeholders(template, set(), (*way, "build-args", name))
        for name, template in image.labels.items():
            _refuse_placeholders(template, set(), (*way, "labels", name))
        for name, template in image.annotations.items():
            _refuse_placeholders(template, {"date"}, (*way, "annotations", name))
        for name, context in image.contexts.items():
            if isinstance(context, OpenContext):
                _refuse_placeholders(context.template, set(), (*way, "contexts", name))
    for registry in config.registries:
        key = "path" if registry.kind is RegistryKind.LAYOUT else "repository"
        _refuse_placeholders(registry.template, set(), ("registries", registry.name, key))


def _refuse_placeholders(template: Template, allowed: set[str], way: Way) -> None:
    for name in sorted((template.names & {"pr", "date"}) - allowed):
        where = "tags of pull requests" if name == "pr" else "tags and annotations"
        raise Invalid(f"{{{name}}} is for {where} only", path=way)


def _check_deployments(config: Config) -> None:
    images = [each.name for each in config.images]
    registries = [each.name for each in config.registries]
    for each in config.deploy:
        way: Way = ("deploy", each.name)
        if each.registry and each.registry not in registries:
            raise _no_such(each.registry, registries, "registry", (*way, "registry"))
        for service, image in each.services.items():
            if image not in images:
                raise _no_such(image, images, "image", (*way, "services", service))
        if each.tag and each.follow:
            raise Invalid(
                "tag and follow exclude each other",
                hint="follow is pinned whatever version is asked for, tag where none is",
                path=(*way, "follow"),
            )


def _check_runners(config: Config) -> None:
    platforms = sorted({str(each) for image in config.images for each in image.platforms})
    for platform in config.ci.runners:
        if platform not in platforms:
            raise _no_such(platform, platforms, "platform", ("ci", "runners", platform))


def _check_names(config: Config, image: Image) -> None:
    """Images and registries that are named must exist."""
    _check_inner(config, image)
    registries = [each.name for each in config.registries]
    for place, name in enumerate(image.registries or ()):
        if name not in registries:
            raise _no_such(
                name, registries, "registry", ("images", image.name, "registries", place)
            )


def _check_inner(config: Config, image: Image) -> None:
    inner = image.inner
    images = [each.name for each in config.images] if inner else []
    for context, name in inner.items():
        if name not in images:
            raise _no_such(name, images, "image", ("images", image.name, "contexts", context))


def _no_such(name: str, known: list[str], what: str, way: Way) -> Invalid:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the configuration has: {', '.join(known)}"
    return Invalid(f"unknown {what} {name!r}", hint=hint, path=way)


def _check_placement(config: Config) -> None:
    """Refuse attestations in lists that can't say what they are; raises Invalid."""
    if config.attest is None or config.attest.placement is not Placement.INDEX:
        return
    for image in config.images:
        if image.publish and image.format is Format.DOCKER:
            raise Invalid(
                f"{image.name} has docker format, whose lists can't hold attestations",
                hint='format = "oci" for that image, or placement = "referrers"',
                path=("attest", "placement"),
            )


def _check_settings(image: Image, document: Mapping[str, object]) -> None:
    way: Way = ("images", image.name)
    if (image.format, image.compression) == (Format.DOCKER, Compression.ZSTD):
        raise Invalid(
            "zstd layers do not exist in docker format",
            hint='compression = "gzip", or format = "oci"',
            path=_written(document, image.name, "compression", "format"),
        )
    ids = Counter(secret.id for secret in image.secrets)
    for place, secret in enumerate(image.secrets):
        if ids[secret.id] > 1:
            raise Invalid(
                f"secret {secret.id!r} is there twice", path=(*way, "secrets", place, "id")
            )


def _written(document: Mapping[str, object], image: str, *keys: str) -> Way:
    """Give where the first of these keys of an image stands, which may be [defaults]."""
    match document:
        case {"images": {**images}} if isinstance(own := images.get(image), dict):
            for key in keys:
                if key in own:
                    return ("images", image, key)
    return ("defaults", keys[0])


def _check_cycles(config: Config) -> None:
    graph = {image.name: tuple(image.inner.values()) for image in config.images}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = [str(name) for name in reversed(error.args[1])]
        raise Invalid(
            f"images need each other in a circle: {' -> '.join(circle)}",
            hint="take one of the contexts out",
            path=("images", circle[0], "contexts"),
        ) from None


def _check_platforms(config: Config) -> None:
    """Refuse a platform that something the image builds on does not have."""
    for image in config.images:
        for context, name in image.inner.items():
            missing = [each for each in image.platforms if each not in config.image(name).platforms]
            if missing and not names_platforms(image):
                raise Invalid(
                    f"image {name!r} is not built for {missing[0]}",
                    hint=f"add the platform to {name!r}, or take it from {image.name!r}",
                    path=("images", image.name, "contexts", context),
                )


def _check_registry(registry: Registry) -> None:
    way: Way = ("registries", registry.name)
    if registry.insecure and registry.ca:
        raise Invalid("insecure means plain HTTP, which needs no ca", path=(*way, "insecure"))
    if registry.kind is RegistryKind.LAYOUT:
        given = {"insecure": registry.insecure, "ca": registry.ca, "api": registry.api}
        for name in (name for name, value in given.items() if value):
            raise Invalid("a layout is a folder and has no such key", path=(*way, name))
        return
    if registry.untag and registry.kind is not RegistryKind.GHCR:
        raise Invalid("only ghcr needs untag", path=(*way, "untag"))
    if registry.template.variables:
        return  # known only where it runs
    sample = Placeholders(project="p", image="i", sha="0123456", branch="b")
    try:
        Repository.parse(registry.template.expand(sample).lower())
    except PodbuildError as wrong:
        raise Invalid(wrong.message, hint=wrong.hint, path=(*way, "repository")) from None


def _check_kept(config: Config) -> None:
    """Refuse a cache or history that no run would find again, or where images are published."""
    if config.history.repository and config.history.folder:
        raise Invalid(
            "the history has a folder already", hint="leave one out", path=("history", "repository")
        )
    for table, template, lasting in (
        ("cache", config.cache.repository, _LASTING),
        ("history", config.history.repository, _LASTING - {"image"}),
    ):
        if template is not None:
            _check_place(config, table, template, lasting)


def _check_place(config: Config, table: str, template: Template, lasting: frozenset[str]) -> None:
    way: Way = (table, "repository")
    moving = {name for name in template.names - lasting if not name.startswith("env.")}
    if moving:
        raise Invalid(
            f"{{{min(moving)}}} changes, and the {table} of one run must be that of the next",
            hint=f"only {', '.join(f'{{{name}}}' for name in sorted(lasting, reverse=True))} and "
            "{env.NAME} can stand here",
            path=way,
        )
    places = {_place(config, template, image, way) for image in config.images}
    for registry in config.registries:
        for image in config.images:
            own: Way = ("registries", registry.name, "repository")
            published = registry.repository and _place(config, registry.repository, image, own)
            if published and published in places:
                raise Invalid(
                    f"{published} is where {registry.name!r} publishes {image.name!r}",
                    hint=f"give the {table} a repository of its own",
                    path=way,
                )


def _place(config: Config, template: Template, image: Image, way: Way) -> Repository | None:
    """Give an image's repository, with what only a release knows made up.

    None where a variable decides what it is; raises Invalid for what can't be one.
    """
    values = Placeholders(
        project=config.project.name,
        image=image.name,
        sha="0123456",
        branch="b",
        env={name: config.env.get(name, name.lower()) for name in template.variables},
    )
    try:
        return Repository.parse(template.expand(values).lower())
    except PodbuildError as wrong:
        if template.variables:
            return None
        raise Invalid(wrong.message, hint=wrong.hint, path=way) from None


def _check_variables(config: Config) -> None:
    """Two registries must not share the name of their credential variables."""
    seen: dict[str, str] = {}
    for registry in config.registries:
        _, variable = token_variables(registry.name)
        other = seen.setdefault(variable, registry.name)
        if other != registry.name:
            raise Invalid(
                f"its credentials would have the same variable as those of {other!r}: {variable}",
                hint="rename one of them",
                path=("registries", registry.name),
            )


def _check_output(config: Config) -> None:
    if config.root.is_relative_to(os.path.realpath(config.output)):
        raise Invalid(
            "must be a folder of its own", hint='such as "dist"', path=("project", "output")
        )


def _check_tags(way: Way, rules: TagRules) -> None:
    """Refuse a moving tag of both releases and a branch, or of two branches."""
    owners: dict[str, str] = {}
    for place, template in enumerate(rules.release):
        for name, what in (("branch", "branch"), ("pr", "pull request")):
            if name in template.names:
                raise Invalid(f"a release has no {what}", path=(*way, "release", place))
        owners[template.text] = "releases"
    _check_occasions(way, rules, owners)
    for branch, place, template in _branch_templates(rules.branches):
        here: Way = (*way, "branches", branch, place)
        if template.names & VERSION_NAMES:
            raise Invalid(
                f"{template}: a branch has no version",
                hint="use {sha}, {branch} or a fixed word",
                path=here,
            )
        if "pr" in template.names:
            hint = "{pr} is for [tags] pull-requests"
            raise Invalid(f"{template}: a branch has no number", hint=hint, path=here)
        if template.names & {"sha", "branch"}:
            continue
        owner = owners.setdefault(template.text, f"the branch {branch}")
        if owner != f"the branch {branch}" or any(char in branch for char in "*?["):
            raise Invalid(
                f"{template}: a moving tag belongs to releases or to one branch, and this one "
                f"belongs to {owner if owner != f'the branch {branch}' else 'several'}",
                hint="give each a tag of its own, such as edge or {branch}",
                path=here,
            )


def _check_occasions(way: Way, rules: TagRules, owners: dict[str, str]) -> None:
    """Refuse tags of pull requests that are not one's own, and a schedule's that are another's."""
    for place, template in enumerate(rules.pull_requests):
        versioned = template.names & VERSION_NAMES
        if versioned or not template.names & {"pr", "sha", "branch"}:
            wrong = "a pull request has no version" if versioned else "all of them would write it"
            hint, path = "such as pr-{pr}", (*way, "pull-requests", place)
            raise Invalid(f"{template}: {wrong}", hint=hint, path=path)
    for place, template in enumerate(rules.schedule):
        here: Way = (*way, "schedule", place)
        if template.names & {*VERSION_NAMES, "pr"}:
            raise Invalid(
                f"{template}: a scheduled run has no version and no pull request",
                hint="such as nightly or nightly-{date}",
                path=here,
            )
        owner = owners.get(template.text, "")
        if owner:
            raise Invalid(f"{template} belongs to {owner}", hint="such as nightly", path=here)
        if not template.names & {"sha", "branch"}:
            owners[template.text] = "scheduled runs"


def _branch_templates(
    branches: Mapping[str, tuple[Template, ...]],
) -> Iterator[tuple[str, int, Template]]:
    for branch, templates in branches.items():
        for place, template in enumerate(templates):
            yield branch, place, template
