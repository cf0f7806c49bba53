"""From configuration, request and commit to a plan, without asking any registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from graphlib import TopologicalSorter
from pathlib import Path

from podbuild.config.choices import Format
from podbuild.config.image import Image
from podbuild.config.model import Config, Registry
from podbuild.config.sections import close_contexts, without_texts
from podbuild.config.template import Placeholders, Template
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform, RegistryKind, Repository
from podbuild.plan import labels as keys
from podbuild.plan.collisions import check_collisions
from podbuild.plan.labels import image_fingerprint, project_fingerprint
from podbuild.plan.model import Commit, Job, Plan, PlannedImage, Request, TagMove, Target
from podbuild.plan.tags import (
    NamedTag,
    Reader,
    TagKind,
    kind_of,
    release_tags,
    snapshot_tags,
)

BasesOf = Callable[[PlannedImage, Platform], tuple[Job, ...] | None]


def _as_configured(_image: PlannedImage, _platform: Platform) -> None:
    return None


def make_plan(
    config: Config, request: Request, source: Commit, bases_of: BasesOf = _as_configured
) -> Plan:
    """Give the plan with every tag's decision unknown.

    `bases_of` gives what an image is built on for a platform, where its Containerfile asks for
    another platform's. Raises ConfigError for an unknown name, a platform that nothing is built
    for, a yanked version, an unset variable, or two images that write the same tag.
    """
    _refuse_yanked(config, request)
    config = close_contexts(config, lambda name: _values(config, name, request, source))
    chosen = _chosen(config, request)
    planned = tuple(
        _based(each, bases_of, published=each.published and each.name in chosen)
        for each in _all_planned(config, chosen, request, source)
    )
    fingerprints = {each.name: each.fingerprint for each in planned}
    images = _narrowed(planned, chosen, request)
    every = tuple(_targets(config, planned, request, source))
    published = {image.name for image in images if image.published}
    plan = Plan(
        project=config.project.name,
        root=config.root,
        version=request.version,
        source=source,
        images=images,
        targets=tuple(target for target in every if target.image in published),
        jobs=(),
        needs={},
        mirrors=config.mirrors,
        yanked=frozenset(config.tags.yanked),
        request=request,
        secret_files=_secret_files(config, request),
        fingerprint=project_fingerprint(config, fingerprints),
        is_partial=any(_leaves_out(image, request) for image in planned if image.published),
        attest=config.attest,
        beside=tuple(_beside(config, images, request, source)),
    )
    check_collisions(config, replace(plan, targets=every))  # an image not asked for owns its tags
    return with_jobs(plan.without_tags() if plan.is_partial else plan)


def _refuse_yanked(config: Config, request: Request) -> None:
    if request.version in config.tags.yanked:
        raise ConfigError(
            f"version {request.version} is yanked", hint="take it out of [tags] yanked first"
        )


def plan_places(config: Config, request: Request) -> Plan:
    """Give a plan that only tells which image is where: nothing in it is to be built.

    Texts of images are left out, so that no commit and no branch is needed for them.
    """
    return make_plan(without_texts(config), request, Commit())


def with_jobs(plan: Plan) -> Plan:
    """Give the plan with the jobs that its images need: none for what is adopted."""
    wanted: set[Job] = set()
    asked = _asked(plan)
    for image in reversed(plan.images):  # what others build on comes first in `images`
        name = image.name
        if image.adopted is None and (image.published or name in asked):
            wanted |= {Job(name, platform) for platform in image.platforms}
        for platform in image.image.platforms:
            if Job(name, platform) in wanted:
                wanted.update(image.bases(platform))
    needs = {
        Job(image.name, platform): image.bases(platform)
        for image in plan.images
        for platform in image.image.platforms
        if Job(image.name, platform) in wanted
    }
    return replace(plan, jobs=tuple(needs), needs=needs)


def _based(image: PlannedImage, bases_of: BasesOf, *, published: bool) -> PlannedImage:
    found = ((platform, bases_of(image, platform)) for platform in image.platforms)
    known = {platform: bases for platform, bases in found if bases is not None}
    return replace(image, published=published, built_on=known)


def _asked(plan: Plan) -> frozenset[str]:
    """Give the images that are wanted for themselves, though they go nowhere."""
    if plan.request.images:
        return frozenset(plan.request.images)
    used = {name for image in plan.images for name in image.image.inner.values()}
    return frozenset(image.name for image in plan.images if image.name not in used)


def _chosen(config: Config, request: Request) -> frozenset[str]:
    for name in request.registries:
        config.registry(name)
    named = [config.image(name) for name in request.images]
    return frozenset(
        image.name
        for image in named or config.images
        if not image.publish or any(True for _ in _registries(config, image, request))
    )


def _beside(
    config: Config, images: tuple[PlannedImage, ...], request: Request, source: Commit
) -> Iterator[Target]:
    """Give where else these images go, at registries that are not asked for."""
    for image in images if request.registries else ():
        for registry in _registries(config, image.image, replace(request, registries=())):
            if image.published and registry.name not in request.registries:
                with suppress(ConfigError):  # its variable may be set in its own job only
                    yield _target(config, registry, image, request, source)


def _in_order(config: Config) -> tuple[Image, ...]:
    """Give all images, those that others build on before them, else as written."""
    graph = {image.name: sorted(image.inner.values()) for image in config.images}
    return tuple(config.image(name) for name in TopologicalSorter(graph).static_order())


def _narrowed(
    images: tuple[PlannedImage, ...], chosen: frozenset[str], request: Request
) -> tuple[PlannedImage, ...]:
    """Keep the chosen images and what they build on, on the platforms asked for."""
    every = {platform for image in images for platform in image.platforms}
    for platform in request.platforms:
        if platform not in every:
            raise ConfigError(
                f"no image is built for {platform}",
                hint=f"the configuration has: {', '.join(sorted(map(str, every)))}",
            )
    kept: dict[str, PlannedImage] = {}
    needed = set(chosen)
    across: set[str] = set()  # needed for another platform than those asked for
    for image in reversed(images):
        if image.name in needed:
            needed |= set(image.image.inner.values())
            platforms = tuple(
                each
                for each in image.platforms
                if not request.platforms or each in request.platforms
            )
            if platforms:
                kept[image.name] = replace(image, platforms=platforms)
            elif image.name in across:
                kept[image.name] = replace(image, platforms=(), published=False)
            if image.name in kept:
                across |= {base.image for bases in image.built_on.values() for base in bases}
    return tuple(kept[image.name] for image in images if image.name in kept)


def _secret_files(config: Config, request: Request) -> tuple[Path, ...]:
    secrets = (*request.secrets, *(secret for image in config.images for secret in image.secrets))
    files = {secret.file for secret in secrets if secret.file is not None}
    signing = config.attest.sign if config.attest else None
    key = signing.file(config.root) if signing else None
    return tuple(sorted(files | ({key} if key else set())))


def _leaves_out(image: PlannedImage, request: Request) -> bool:
    """Tell whether a request names platforms, but not all of this image's."""
    return bool(request.platforms) and not {*image.platforms} <= {*request.platforms}


def _overridden(image: Image, chosen: frozenset[str], request: Request) -> Image:
    """Let the command line win over the configuration, for the chosen images."""
    if image.name not in chosen:
        return image
    given = {name: literal(value) for name, value in request.build_args.items()}
    secrets = {secret.id: secret for secret in (*image.secrets, *request.secrets)}
    return replace(
        image,
        target=request.target or image.target,
        build_args={**image.build_args, **given},
        secrets=tuple(secrets.values()),
    )


def literal(text: str) -> Template:
    """Give a template that expands to exactly this text.

    >>> literal("{version}").expand(Placeholders(project="p"))
    '{version}'
    """
    return Template(text.replace("{", "{{").replace("}", "}}"))


def _values(config: Config, image: str, request: Request, source: Commit) -> Placeholders:
    return Placeholders(
        project=config.project.name,
        image=image,
        version=request.version,
        sha=source.short,
        branch=source.branch,
        pr=source.pr,
        date=source.day,
        env=config.env,
        scheme=config.project.scheme,
    )


def _all_planned(
    config: Config, chosen: frozenset[str], request: Request, source: Commit
) -> Iterator[PlannedImage]:
    """Give every image as this release makes it, those that others build on before them."""
    fingerprints: dict[str, str] = {}
    for image in _in_order(config):
        asked = _overridden(image, chosen, request)
        each = _planned(config, asked, request, source, fingerprints)
        fingerprints[image.name] = each.fingerprint
        yield each


def _planned(
    config: Config,
    image: Image,
    request: Request,
    source: Commit,
    fingerprints: Mapping[str, str],
) -> PlannedImage:
    values = _values(config, image.name, request, source)
    build_args = _expanded(image.build_args, values)
    stable = _stable_texts(config, image)
    labels = stable | _expanded(image.labels, values)
    annotations = stable | _expanded(image.annotations, values)
    dated = {name for name, template in image.annotations.items() if "date" in template.names}
    undated = stable | _expanded(image.annotations, replace(values, date="{date}"))
    texts = {"build-args": build_args, "labels": labels, "annotations": undated}
    inner = {name: fingerprints[other] for name, other in image.inner.items()}
    fingerprint = image_fingerprint(image, config.root, texts, inner)
    return PlannedImage(
        image=image,
        platforms=image.platforms,
        build_args=build_args,
        labels=labels,
        annotations={name: text for name, text in annotations.items() if name not in dated}
        if image.format is Format.OCI
        else {},
        release_annotations=_release_texts(request, source)
        | annotations
        | _identity(source, fingerprint),
        fingerprint=fingerprint,
        published=image.publish,
        readers=_readers(config.tags_of(image).release, values),
    )


def _readers(templates: Iterable[Template], values: Placeholders) -> tuple[Reader, ...]:
    """Give what reads an image's version tags back."""
    kinds = {template: kind_of(template) for template in templates}
    moving = tuple(each for each, kind in kinds.items() if kind is TagKind.MOVING)
    return tuple(
        Reader(template, values, moving)
        for template, kind in kinds.items()
        if kind is TagKind.VERSION
    )


def _expanded(templates: Mapping[str, Template], values: Placeholders) -> dict[str, str]:
    return {name: template.expand(values) for name, template in sorted(templates.items())}


def _stable_texts(config: Config, image: Image) -> dict[str, str]:
    """Give the texts that do not change from version to version."""
    project = config.project
    texts = {
        keys.TITLE: image.name,
        keys.DESCRIPTION: project.description,
        keys.SOURCE: project.source,
        keys.URL: project.url,
        keys.DOCUMENTATION: project.documentation,
        keys.LICENSES: project.licenses,
        keys.VENDOR: project.vendor,
    }
    return {name: text for name, text in sorted(texts.items()) if text}


def _release_texts(request: Request, source: Commit) -> dict[str, str]:
    created = source.created and source.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = request.version or source.branch
    texts = {keys.VERSION: str(version) if version else "", keys.CREATED: created or ""}
    return {name: text for name, text in texts.items() if text}


def _identity(source: Commit, fingerprint: str) -> dict[str, str]:
    """Give what guards rely on, so that no annotation of the configuration replaces it."""
    commit = {keys.REVISION: source.commit} if source.commit else {}
    mark = {keys.DIRTY: keys.TRUE} if source.dirty else {}
    return {**commit, **mark, keys.CONFIGURATION: fingerprint}


def _registries(config: Config, image: Image, request: Request) -> Iterator[Registry]:
    for registry in config.registries:
        if image.registries is not None and registry.name not in image.registries:
            continue
        if not request.registries or registry.name in request.registries:
            yield registry


def _targets(
    config: Config, images: Iterable[PlannedImage], request: Request, source: Commit
) -> Iterator[Target]:
    for image in images:
        for registry in _registries(config, image.image, request) if image.image.publish else ():
            yield _target(config, registry, image, request, source)


def _target(
    config: Config, registry: Registry, image: PlannedImage, request: Request, source: Commit
) -> Target:
    values = _values(config, image.name, request, source)
    place = registry.template.expand(values)
    if registry.kind is not RegistryKind.LAYOUT:
        place = str(Repository.parse(place.lower()))
    return Target(
        registry=registry,
        image=image.name,
        place=place,
        tags=tuple(TagMove(named=named) for named in _tags(config, image.image, values, source)),
    )


def _tags(
    config: Config, image: Image, values: Placeholders, source: Commit
) -> tuple[NamedTag, ...]:
    rules = config.tags_of(image)
    if values.version is not None:
        return release_tags(rules.release, values)
    return snapshot_tags(rules, values, scheduled=source.scheduled)
