"""An SBOM as CycloneDX 1.6: a function of the image and of what was found in it.

Source: https://cyclonedx.org/docs/1.6/json/ . The serial number is no random one, and there is no
time stamp: the same image gives the same bytes.
"""

from __future__ import annotations

import uuid

from podbuild.build.attest.catalog import Found
from podbuild.build.attest.packages import Package
from podbuild.build.attest.spdx import NOTHING
from podbuild.oci.names import Digest
from podbuild.oci.statements import canonical
from podbuild.system.records import JSONValue

_FORM = 1  # of the document: part of its serial number
_IMAGE = "image"


def cyclonedx_document(name: str, image: Digest, found: Found) -> dict[str, JSONValue]:
    """Give the document of an image; `name` is for people and names no registry."""
    comments = [*([] if found.packages else [NOTHING]), *found.remarks]
    contained: list[JSONValue] = [_ref(each) for each in found.packages]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(f"{_FORM}", image),
        "version": 1,
        "metadata": {
            "tools": {
                "components": [
                    {"type": "application", "name": "podbuild-sbom", "version": str(_FORM)}
                ]
            },
            "component": {
                "bom-ref": _IMAGE,
                "type": "container",
                "name": name,
                "version": str(image),
                "hashes": [{"alg": "SHA-256", "content": image.hex}],
            },
            **({"properties": _properties("comment", comments)} if comments else {}),
        },
        "components": [_component(each, found, paths) for each, paths in found.packages.items()],
        "dependencies": [{"ref": _IMAGE, "dependsOn": contained}],
    }


def serial_number(form: str, image: Digest) -> str:
    """Give a serial number that is the image's own."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{form}:{image}')}"


def _component(package: Package, found: Found, paths: tuple[str, ...]) -> JSONValue:
    version = f"{package.epoch}:{package.version}" if package.epoch else package.version
    licence: JSONValue = [{"license": {"name": package.licence}}]
    return {
        "bom-ref": _ref(package),
        "type": "library",
        "name": package.name,
        "version": version,
        "purl": package.purl(found.distribution, found.release),
        "properties": _properties("recorded-in", [f"/{path}" for path in paths]),
        **({"licenses": licence} if package.licence else {}),
    }


def _ref(package: Package) -> str:
    return f"{package.kind}-{Digest.of(canonical(package.to_json())).hex[:16]}"


def _properties(name: str, values: list[str]) -> JSONValue:
    return [{"name": f"podbuild:{name}", "value": value} for value in values]
