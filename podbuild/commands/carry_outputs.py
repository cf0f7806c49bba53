"""Outputs and annotations as buildx writes them, as keys of an image.

Source: BuildKit's README, "Output", and Docker's documentation, "Annotations".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable

_IMAGES = ("image", "registry", "docker", "oci")
_COMPRESSIONS = ("gzip", "zstd")
_NEEDLESS = frozenset({  # where it goes, or how it always is here
    "type", "name", "push", "dest", "tar", "push-by-digest", "name-canonical", "unpack", "store",
    "oci-mediatypes", "rewrite-timestamp", "force-compression", "buildinfo", "dangling-name-prefix",
})  # fmt: skip
_ANNOTATION = re.compile(r"(?:(?:index|manifest)(?:,(?:index|manifest))*:)?([^=:\[\]]+)=(.*)")
_IN_OUTPUT = re.compile(r"annotation(?:-index|-manifest)?\.(.+)")


def output_attributes(text: str) -> dict[str, str]:
    """Give what an output says; one that is a path alone is a folder.

    >>> output_attributes('type=image,"name=a,b"'), output_attributes("out")
    ({'type': 'image', 'name': 'a,b'}, {'type': 'local', 'dest': 'out'})
    """
    if "=" not in text:
        return {"type": "local", "dest": text}
    rows = (each.partition("=") for each in next(csv.reader([text], skipinitialspace=True), []))
    return {name.strip(): value.strip() for name, _, value in rows}


def makes_image(outputs: Iterable[str]) -> bool:
    """Tell whether one of a build's outputs is an image, as it is where none is named."""
    kinds = [output_attributes(each).get("type") for each in outputs]
    return not kinds or any(kind in _IMAGES for kind in kinds)


def output_keys(outputs: Iterable[str], leave: Callable[[str], None]) -> dict[str, object]:
    """Give the keys of an image that its outputs ask for; `leave` is told what has none."""
    found: dict[str, object] = {}
    annotations: dict[str, str] = {}
    for name, value in (row for each in outputs for row in output_attributes(each).items()):
        if name == "compression" and value in _COMPRESSIONS:
            found["compression"] = value
        elif name == "oci-mediatypes" and value == "false":
            found["format"] = "docker"
        elif annotation := _IN_OUTPUT.fullmatch(name):
            annotations[annotation[1]] = value
        elif name not in _NEEDLESS:
            leave(f"{name}={value}")
    return {**found, **({"annotations": annotations} if annotations else {})}


def annotation_of(text: str) -> tuple[str, str] | None:
    """Give an annotation's key and value; None for one of a single platform or a descriptor.

    >>> annotation_of("index,manifest:a.b=c"), annotation_of("manifest[linux/amd64]:a=b")
    (('a.b', 'c'), None)
    """
    found = _ANNOTATION.fullmatch(text)
    return (found[1], found[2]) if found else None
