"""An SBOM as SPDX 2.3, packages only: a function of the image and of what was found in it.

Source: https://spdx.github.io/spdx-spec/v2.3/ . `created` and the namespace are no clock and no
random number: the same image gives the same bytes.
"""

from __future__ import annotations

import re

from podbuild.build.attest.catalog import Found
from podbuild.build.attest.packages import Package
from podbuild.oci.names import Digest
from podbuild.oci.statements import canonical
from podbuild.system.records import JSONValue

_FORM = 1  # of the document: part of its namespace
_CREATED = "2000-01-01T00:00:00Z"  # the instant that files of images get too
_UNKNOWN = "NOASSERTION"
_ROOT = "SPDXRef-Image"
NOTHING = (
    "No database of packages was found in this image (dpkg, apk, rpm, Python, Node): "
    "that says nothing about what else is in it."
)


def spdx_document(name: str, image: Digest, found: Found) -> dict[str, JSONValue]:
    """Give the document of an image; `name` is for people and names no registry."""
    packages = [_package(each, found, paths) for each, paths in found.packages.items()]
    relations: list[JSONValue] = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", _ROOT)]
    relations += [_relation(_ROOT, "CONTAINS", _id(each)) for each in found.packages]
    comments = [*([] if packages else [NOTHING]), *found.remarks]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://podbuild.github.io/spdx/{_FORM}/{image.hex}",
        "creationInfo": {"created": _CREATED, "creators": [f"Tool: podbuild-sbom-{_FORM}"]},
        "packages": [_image(name, image), *packages],
        "relationships": relations,
        **({"comment": "\n".join(comments)} if comments else {}),
    }


def _image(name: str, image: Digest) -> JSONValue:
    return {
        "SPDXID": _ROOT,
        "name": name,
        "versionInfo": str(image),
        "checksums": [{"algorithm": image.algorithm.upper(), "checksumValue": image.hex}],
        "primaryPackagePurpose": "CONTAINER",
        **_UNSAID,
    }


_UNSAID: dict[str, JSONValue] = {
    "downloadLocation": _UNKNOWN,
    "filesAnalyzed": False,
    "licenseConcluded": _UNKNOWN,
    "licenseDeclared": _UNKNOWN,
    "copyrightText": _UNKNOWN,
}


def _package(package: Package, found: Found, paths: tuple[str, ...]) -> JSONValue:
    purl = package.purl(found.distribution, found.release)
    licence = f"its own metadata says: {package.licence}" if package.licence else ""
    return {
        "SPDXID": _id(package),
        "name": package.name,
        "versionInfo": f"{package.epoch}:{package.version}" if package.epoch else package.version,
        "sourceInfo": f"recorded in {', '.join(f'/{path}' for path in paths)}",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl,
            }
        ],
        **_UNSAID,
        **({"licenseComments": licence} if licence else {}),
    }


def _id(package: Package) -> str:
    """Give an identifier: letters, digits, dots and hyphens (SPDX 2.3, 3.2)."""
    short = Digest.of(canonical(package.to_json())).hex[:12]
    return f"SPDXRef-{package.kind}-{re.sub('[^A-Za-z0-9.]+', '-', package.name)}-{short}"


def _relation(subject: str, kind: str, other: str) -> JSONValue:
    return {"spdxElementId": subject, "relationshipType": kind, "relatedSpdxElement": other}
