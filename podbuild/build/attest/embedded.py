"""BuildKit's attestation manifests: children of the index, for what reads nothing else.

Docker's tools and Docker Hub's pages look there. The index names them, so that only what is a
function of an image's inputs is in them: no commit, no run, no version of podbuild.
Source: moby/buildkit docs/attestations/attestation-storage.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from podbuild.build.attest.sbom import SBOM_TYPES, SbomMaker
from podbuild.build.staging.area import repository_name
from podbuild.config.attest import Placement, SbomSource
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest
from podbuild.oci.statements import IN_TOTO, PROVENANCE, statement, unsigned_referrer
from podbuild.oci.store import EMPTY, Store, put_bytes
from podbuild.plan.journal import Section
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue

if TYPE_CHECKING:  # what builds costs time
    from podbuild.build.engines import Engines
    from podbuild.build.model import Staged

ANYWHERE = "https://podbuild.github.io/supply-chain#anywhere"


def reproducible(predicate: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Give what holds of a provenance wherever and whenever the same image is made."""
    definition = predicate["buildDefinition"]
    assert isinstance(definition, dict)  # noqa: S101  # as it was made here
    external = definition["externalParameters"]
    depends = definition["resolvedDependencies"]
    assert isinstance(external, dict)  # noqa: S101
    assert isinstance(depends, list)  # noqa: S101
    source = external.get("source")
    return {
        "buildDefinition": {
            **definition,
            "externalParameters": {k: v for k, v in external.items() if k != "source"},
            "resolvedDependencies": [each for each in depends if each != source],
        },
        "runDetails": {"builder": {"id": ANYWHERE}},
    }


def embedded_attestations(
    engines: Engines, staged: Staged, source: Callable[[str], Store]
) -> Mapping[Job, Manifest]:
    """Give the attestation manifest of each published image of an index, staged.

    Empty where the configuration asks for referrers alone. Raises what making an SBOM raises.
    """
    services, journal = engines.services, engines.journal
    attest = services.config.attest
    if attest is None or attest.placement is not Placement.INDEX:
        return {}
    maker = SbomMaker.of(attest, services.runner, services.folders)
    found: dict[Job, Manifest] = {}
    for job, each in staged.images.items():
        planned = engines.plan.image(job.image)
        if not planned.published or not planned.is_index:
            continue
        name, digest = str(job), each.manifest.digest
        said = []
        if attest.sbom is not SbomSource.OFF:
            document = maker.document(name, source(job.image), each.manifest)
            said.append(statement(name, digest, SBOM_TYPES[maker.form], document))
        if attest.provenance:
            predicate = _embedded(journal.get(Section.PROVENANCE, name), digest)
            said += [statement(name, digest, PROVENANCE, predicate)] if predicate else []
        if said:
            made = unsigned_referrer(each.manifest, said)
            store = engines.staging.repository(repository_name(job.image))
            for blob in made.blobs:
                put_bytes(store, IN_TOTO, blob)
            put_bytes(store, EMPTY.media_type, b"{}")
            store.put_manifest(made.manifest)
            found[job] = made.manifest
    return found


def _embedded(value: JSONValue, digest: Digest) -> dict[str, JSONValue] | None:
    match value:
        case {"digest": str(text), "embedded": dict(predicate)} if text == str(digest):
            return predicate
        case _:
            return None
