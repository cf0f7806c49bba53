"""The keys of labels and annotations that podbuild writes and reads back; fingerprints among them.

A fingerprint tells whether an image, or the project, is configured as it was before.

OCI's own keys: image-spec, annotations.md, "Pre-Defined Annotation Keys".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from podbuild.config.choices import FolderContext
from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.oci.names import Digest, Platform
from podbuild.system.records import JSONValue

_DEFAULT = Image(name="default")


def image_fingerprint(
    image: Image, root: Path, texts: Mapping[str, Mapping[str, str]], inner: Mapping[str, str]
) -> str:
    """Give the fingerprint of what an image is made with, platforms apart.

    `texts` are its build arguments, labels and annotations with placeholders replaced; `inner`
    the fingerprints of the images it builds on. Defaults are left out, so that a key that a
    later podbuild adds changes nothing. Where an image goes is no part of it.
    """
    return _hash({"image": _settings(image, root), **_plain(texts), "inner": dict(inner)})


def project_fingerprint(config: Config, images: Mapping[str, str]) -> str:
    """Give the fingerprint of the whole configuration: images, platforms, registries, tags."""
    return _hash(
        {
            "images": {
                image.name: [
                    images[image.name],
                    [str(platform) for platform in image.platforms],
                    str(image.registries),
                    image.publish,
                    str(image.tags),
                ]
                for image in config.images
            },
            "registries": {
                registry.name: [registry.kind.value, registry.template.text, registry.required]
                for registry in config.registries
            },
            "mirrors": {name: [*places] for name, places in config.mirrors.items()},
            "tags": str(config.tags),
        }
    )


def _settings(image: Image, root: Path) -> dict[str, JSONValue]:
    given: dict[str, JSONValue] = {
        "containerfile": relative(image.containerfile, root),
        "context": relative(image.context, root),
    }
    if image.target:
        given["target"] = image.target
    if image.ignorefile:
        given["ignorefile"] = relative(image.ignorefile, root)
    if image.contexts:
        given["contexts"] = {
            name: relative(context.path, root)
            if isinstance(context, FolderContext)
            else str(context)
            for name, context in image.contexts.items()
        }
    if image.secrets or image.ssh:
        agents = (entry.partition("=")[0] for entry in image.ssh)  # not whose, or from where
        given["secrets"] = [*sorted(secret.id for secret in image.secrets), *agents]
    choices: dict[str, tuple[JSONValue, JSONValue]] = {
        "format": (image.format.value, _DEFAULT.format.value),
        "compression": (image.compression.value, _DEFAULT.compression.value),
        "index": (image.index.value, _DEFAULT.index.value),
        "layers": (image.layers, _DEFAULT.layers),
        "timestamp": (image.timestamp.value, _DEFAULT.timestamp.value),
        "release-labels": (image.release_labels, _DEFAULT.release_labels),
        "network": (image.network.value, _DEFAULT.network.value),
    }
    return given | {name: now for name, (now, default) in choices.items() if now != default}


def relative(path: Path, root: Path) -> str:
    """Give a path as the configuration would write it, the same on every machine."""
    return os.path.relpath(path, root)


def _plain(texts: Mapping[str, Mapping[str, str]]) -> dict[str, JSONValue]:
    return {name: dict(values) for name, values in texts.items() if values}


def _hash(value: JSONValue) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return str(Digest.of(text.encode()))


TITLE = "org.opencontainers.image.title"
DESCRIPTION = "org.opencontainers.image.description"
SOURCE = "org.opencontainers.image.source"
URL = "org.opencontainers.image.url"
DOCUMENTATION = "org.opencontainers.image.documentation"
LICENSES = "org.opencontainers.image.licenses"
VENDOR = "org.opencontainers.image.vendor"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
CREATED = "org.opencontainers.image.created"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

RELEASE_LABELS = (VERSION, REVISION, CREATED)

OWN = "io.github.podbuild."
CONFIGURATION = f"{OWN}configuration"  # fingerprint of what an image is made with
DIRTY = f"{OWN}dirty"  # TRUE: the work tree had changes that no commit holds
TRUE = "true"
_INPUTS = f"{OWN}inputs."
_SOURCE = f"{OWN}source."


def inputs_of(platform: Platform) -> str:
    """Give the key of the input hash of one platform's image.

    >>> inputs_of(Platform("linux", "arm", "v7"))
    'io.github.podbuild.inputs.linux-arm-v7'
    """
    return f"{_INPUTS}{platform.slug}"


def sources_of(platform: Platform) -> str:
    """Give the key of the source hash of one platform's image.

    >>> sources_of(Platform("linux", "arm64"))
    'io.github.podbuild.source.linux-arm64'
    """
    return f"{_SOURCE}{platform.slug}"
