"""The images of a release as other tools' files: variables, compose, Helm values, kustomize."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podbuild.errors import ConfigError
from podbuild.oci.names import Digest


class PinFormat(StrEnum):
    """In what form the images are listed."""

    ENV = "env"
    COMPOSE = "compose"
    HELM = "helm"
    KUSTOMIZE = "kustomize"


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """One image in one repository."""

    name: str
    repository: str
    tag: str
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """The images of one registry; `services` are images by service, where names differ."""

    images: tuple[ListedImage, ...]
    services: Mapping[str, str] = field(default_factory=dict, hash=False)


def listed(found: ImageList, form: PinFormat) -> str:
    """Give the file's text, without a line end at its end."""
    make: dict[PinFormat, Callable[[ImageList], Iterator[str]]] = {
        PinFormat.ENV: _env,
        PinFormat.COMPOSE: _compose,
        PinFormat.HELM: _helm,
        PinFormat.KUSTOMIZE: _kustomize,
    }
    return "\n".join(make[form](found))


def _env(found: ImageList) -> Iterator[str]:
    names: dict[str, str] = {}
    for each in found.images:
        name = re.sub(r"[^A-Z0-9]", "_", each.name.upper())
        if name in names:
            raise ConfigError(
                f"{names[name]} and {each.name} would both be {name}_IMAGE",
                hint="list one of them: --image NAME",
            )
        names[name] = each.name
        yield f"{name}_IMAGE={each.repository}@{each.digest}"


def _compose(found: ImageList) -> Iterator[str]:
    by_name = {each.name: each for each in found.images}
    named = {*found.services.values()}
    services = {name: name for name in by_name if name not in named} | dict(found.services)
    yield "services:"
    for service, image in sorted(services.items()):
        each = by_name.get(image)
        if each:
            yield from (f"  {service}:", f"    image: {each.repository}:{each.tag}@{each.digest}")


def _helm(found: ImageList) -> Iterator[str]:
    for each in found.images:
        only = len(found.images) == 1
        indent = "" if only else "  "
        if not only:
            yield f"{each.name}:"
        yield f"{indent}image:"
        yield f"{indent}  repository: {each.repository}"
        yield f'{indent}  tag: "{each.tag}"'
        yield f"{indent}  digest: {each.digest}"


def _kustomize(found: ImageList) -> Iterator[str]:
    yield from ("apiVersion: kustomize.config.k8s.io/v1alpha1", "kind: Component", "images:")
    for each in found.images:
        yield f"- name: {each.repository}"
        yield f'  newTag: "{each.tag}"'
        yield f"  digest: {each.digest}"
