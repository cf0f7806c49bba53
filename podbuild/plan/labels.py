"""The keys of labels and annotations that podbuild writes and reads back.

OCI's own keys: image-spec, annotations.md, "Pre-Defined Annotation Keys".
"""

from __future__ import annotations

from podbuild.oci.names import Platform

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
