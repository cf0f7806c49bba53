"""Read podbuild.toml: find it, make types of it, say what is wrong with it and in which line."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from podbuild.config.attest import Attest
from podbuild.config.builders import HERE, BuilderHost, Builders, CiSettings
from podbuild.config.checks import check
from podbuild.config.choices import NAME, OpenContext
from podbuild.config.following import (
    CostSettings,
    Deployment,
    HistorySettings,
    NotesSettings,
    NotifySettings,
)
from podbuild.config.image import Image
from podbuild.config.keys import (
    Declared,
    Invalid,
    as_table,
    list_of,
    read_keys,
    read_table,
    table_of,
    unknown,
)
from podbuild.config.model import (
    AuditSettings,
    CacheSettings,
    Config,
    Project,
    Registry,
    Retention,
    TagRules,
)
from podbuild.config.secrecy import Logins, refuse_secrets
from podbuild.config.sections import IMAGE_KEYS, MIRRORS, SECTIONS, close_known, section
from podbuild.config.template import Template
from podbuild.config.toml import dotted, expanded, line_of, parse_toml, read_config, shown
from podbuild.config.trials import CheckCommand, SizeBudget
from podbuild.errors import ConfigError
from podbuild.oci.names import RegistryKind

T = TypeVar("T")

FILE_NAME = "podbuild.toml"


def find_config(start: Path) -> Path:
    """Give the podbuild.toml in this folder or the nearest one above it; raises ConfigError."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"no {FILE_NAME} in {start.absolute()} or above it", hint="`podbuild init` writes one"
    )


def load_config(path: Path, environment: Mapping[str, str], logins: Logins = tuple) -> Config:
    """Read and check a configuration file; `logins` gives secrets of registries.

    Raises ConfigError that names file, line and key.
    """
    return parse_config(read_config(path), path, environment, logins)


def parse_config(
    text: str, path: Path, environment: Mapping[str, str], logins: Logins = tuple
) -> Config:
    """Read and check a configuration's text; `path` is where it stands.

    Raises ConfigError that names file, line and key.
    """
    document = parse_toml(text, path)
    try:
        document = expanded(document)
        config = _read(document, path.absolute())
        check(config, document)
        refuse_secrets(config, document, environment, logins)
        return close_known(_with_variables(config, environment))
    except Invalid as wrong:
        key = f"{dotted(wrong.path)}: " if wrong.path else ""
        raise ConfigError(
            f"{shown(path)}:{line_of(text, wrong.path)}: {key}{wrong.message}", hint=wrong.hint
        ) from None


def _read(document: dict[str, object], path: Path) -> Config:
    root = path.parent
    for name in document:
        if name not in {each.name for each in SECTIONS}:
            raise unknown(name, (each.name for each in SECTIONS), "table")
    for each in SECTIONS:
        if each.required and not document.get(each.name):
            raise Invalid(f"[{each.name}] is missing or empty", hint=f"write {each.sample}")
    project = _table(document, "project", Project, root)
    return Config(
        path=path,
        root=root,
        project=project,
        images=_images(document, root),
        registries=_registries(document, root) or (_here(root, project.output),),
        mirrors=_mirrors(document, root),
        tags=_table(document, "tags", TagRules, root),
        retention=_table(document, "retention", Retention, root),
        cache=_table(document, "cache", CacheSettings, root),
        attest=_table(document, "attest", Attest, root) if "attest" in document else None,
        audit=_table(document, "audit", AuditSettings, root),
        notes=_table(document, "notes", NotesSettings, root),
        history=_table(document, "history", HistorySettings, root),
        notify=_table(document, "notify", NotifySettings, root),
        cost=_table(document, "cost", CostSettings, root),
        deploy=_deployments(document, root),
        ci=_table(document, "ci", CiSettings, root),
        builders=_builders(document, root),
        checks=_checks(document, root),
    )


def _checks(document: dict[str, object], root: Path) -> tuple[CheckCommand, ...]:
    table = section("checks")
    kind = list_of(table_of(CheckCommand, table.keys, "{ run }"))
    try:
        return kind.read(document.get("checks", []), root, "checks")
    except Invalid as wrong:
        raise wrong.hinted(f"write {table.sample}") from None


def _mirrors(document: dict[str, object], root: Path) -> Mapping[str, tuple[str, ...]]:
    try:
        return MIRRORS.read(document.get("mirrors", {}), root, "mirrors")
    except Invalid as wrong:
        raise wrong.hinted(f"such as {section('mirrors').sample}") from None


def _table(document: dict[str, object], name: str, make: Callable[..., T], root: Path) -> T:
    try:
        return read_table(make, section(name).keys, document.get(name, {}), root)
    except Invalid as wrong:
        raise wrong.under(name).hinted(f"write {section(name).sample}") from None


def _images(document: dict[str, object], root: Path) -> tuple[Image, ...]:
    try:
        common = read_keys(section("defaults").keys, document.get("defaults", {}), root)
    except Invalid as wrong:
        raise wrong.under("defaults").hinted(f"write {section('defaults').sample}") from None
    return tuple(
        _image(name, _cascade(common, own), root)
        for name, own in _named(document, "images", functools.partial(read_keys, IMAGE_KEYS), root)
    )


def _cascade(common: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    """Merge tables entry by entry; anything else of an image's own replaces the default."""
    merged = {**common, **own}
    for field in common.keys() & own.keys():
        ours, theirs = own[field], common[field]
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            merged[field] = {**theirs, **ours}
        elif isinstance(ours, SizeBudget) and isinstance(theirs, SizeBudget):
            merged[field] = ours.over(theirs)
    return merged


def _image(name: str, values: dict[str, object], root: Path) -> Image:
    make: Callable[..., Image] = functools.partial(Image, name=name)
    context = values.get("context", root)
    given = values.get("containerfile")
    folder = context if isinstance(context, Path) else root
    containerfile = given if isinstance(given, Path) else _first_containerfile(folder)
    return make(**{**values, "context": context, "containerfile": containerfile})


def _first_containerfile(folder: Path) -> Path:
    dockerfile = folder / "Dockerfile"
    containerfile = folder / "Containerfile"
    return dockerfile if dockerfile.is_file() and not containerfile.is_file() else containerfile


def _registries(document: dict[str, object], root: Path) -> tuple[Registry, ...]:
    keys = section("registries").keys
    found = _named(document, "registries", functools.partial(read_keys, keys), root)
    return tuple(_registry(name, values) for name, values in found)


def _deployments(document: dict[str, object], root: Path) -> tuple[Deployment, ...]:
    keys = section("deploy").keys
    found = _named(document, "deploy", functools.partial(_keys_of_deployment, keys), root)
    make: Callable[..., Deployment] = Deployment
    return tuple(make(name=name, **values) for name, values in found)


def _keys_of_deployment(keys: tuple[Declared, ...], value: object, root: Path) -> dict[str, object]:
    values = read_keys(keys, value, root)
    if "files" not in values:
        raise Invalid("files is missing", hint='such as files = ["deploy/production/*.yaml"]')
    return values


def _builders(document: dict[str, object], root: Path) -> Builders:
    """Read what stands in the table itself, and the machines in it."""
    table = section("builders")
    names = {each.name for each in table.own}
    found = document.get(table.name, {})
    inner = found if isinstance(found, dict) else {}
    own = {name: value for name, value in inner.items() if name in names}
    machines = {name: value for name, value in inner.items() if name not in names}
    here: dict[str, object] = {table.name: machines if isinstance(found, dict) else found}
    each = _named(here, table.name, functools.partial(read_keys, table.keys), root)
    built = tuple(_builder(name, values) for name, values in each)
    try:
        read = read_keys(table.own, own, root)
    except Invalid as wrong:
        raise wrong.under(table.name) from None
    make: Callable[..., Builders] = functools.partial(Builders, each=built)
    return make(**read)


def _builder(name: str, values: dict[str, object]) -> BuilderHost:
    if name == HERE or "host" not in values:
        said = "is this machine's name" if name == HERE else "host is missing"
        raise Invalid(said, hint='such as host = "build@arm1.example.com"', path=("builders", name))
    make: Callable[..., BuilderHost] = functools.partial(BuilderHost, name=name)
    return make(**values)


def _here(root: Path, output: Path) -> Registry:
    """Give the registry of a project that names none: OCI layouts below its output folder."""
    folder = os.path.relpath(root / output, root).replace("{", "{{").replace("}", "}}")
    return Registry(
        name="here", kind=RegistryKind.LAYOUT, path=Template(f"{folder}/registry/{{image}}")
    )


def _registry(name: str, values: dict[str, object]) -> Registry:
    make: Callable[..., Registry] = functools.partial(Registry, name=name)
    try:
        return make(**values)
    except ConfigError as wrong:
        raise Invalid(wrong.message, hint=wrong.hint, path=("registries", name)) from None


def _named(
    document: dict[str, object], table: str, read: Callable[[object, Path], T], root: Path
) -> Iterator[tuple[str, T]]:
    """Give name and content of each table in a table of tables."""
    try:
        for name, value in as_table(document.get(table, {})).items():
            try:
                yield NAME.parse(name, root), read(value, root)
            except Invalid as wrong:
                raise wrong.under(name) from None
    except Invalid as wrong:
        raise wrong.under(table).hinted(f"write {section(table).sample}") from None


def _with_variables(config: Config, environment: Mapping[str, str]) -> Config:
    """Keep what {env.NAME} may need, and nothing else of the environment."""
    names = used_variables(config) & environment.keys()
    return replace(config, env={name: environment[name] for name in names})


def used_variables(config: Config) -> frozenset[str]:
    """Give the environment variables that templates name."""
    templates = [*config.tags.release, *_flat(config.tags.branches)]
    templates += [*config.tags.pull_requests, *config.tags.schedule]
    for image in config.images:
        templates += [*image.build_args.values(), *image.labels.values()]
        templates += [*image.annotations.values(), *(image.tags.release or ())]
        templates += _flat(image.tags.branches or {})
        templates += [*(image.tags.pull_requests or ()), *(image.tags.schedule or ())]
        templates += [
            each.template for each in image.contexts.values() if isinstance(each, OpenContext)
        ]
    templates += [registry.template for registry in config.registries]
    templates += [config.cache.repository] if config.cache.repository else []
    templates += [config.history.repository] if config.history.repository else []
    templates += config.attest.templates if config.attest else ()
    return frozenset[str]().union(*(template.variables for template in templates))


def _flat(branches: Mapping[str, tuple[Template, ...]]) -> list[Template]:
    return [template for templates in branches.values() for template in templates]
