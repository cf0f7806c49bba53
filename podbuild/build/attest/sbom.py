"""The SBOM that the configuration asks for: by podbuild or by syft, as SPDX or as CycloneDX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from podbuild.build.attest.catalog import catalog
from podbuild.build.attest.cyclonedx import cyclonedx_document
from podbuild.build.attest.spdx import spdx_document
from podbuild.build.attest.syft import Syft
from podbuild.config.attest import Attest, SbomFormat, SbomSource
from podbuild.oci.examine import LAYERS, Examiner
from podbuild.oci.manifest import Manifest
from podbuild.oci.statements import CYCLONEDX, SPDX
from podbuild.oci.store import Store
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from podbuild.system.records import JSONValue

SBOM_TYPES = {SbomFormat.SPDX: SPDX, SbomFormat.CYCLONEDX: CYCLONEDX}
_MAKERS = {SbomFormat.SPDX: spdx_document, SbomFormat.CYCLONEDX: cyclonedx_document}


@dataclass(frozen=True, kw_only=True)
class SbomMaker:
    """Makes SBOMs of images."""

    source: SbomSource
    form: SbomFormat
    examiner: Examiner
    syft: Callable[[], Syft] = field(repr=False)

    @classmethod
    def of(cls, attest: Attest, runner: Runner, folders: Folders) -> SbomMaker:
        """Give what makes SBOMs, as the configuration says."""
        return cls(
            source=attest.sbom,
            form=attest.sbom_format,
            examiner=Examiner(folders.cache / LAYERS, runner.cancel),
            syft=cache(lambda: Syft.find(runner, folders)),
        )

    def check(self) -> None:
        """Raise ToolError where what the configuration asks for is missing."""
        if self.source is SbomSource.SYFT:
            self.syft()

    def document(self, name: str, store: Store, manifest: Manifest) -> dict[str, JSONValue]:
        """Give the SBOM of one platform's image; `name` is for people and names no registry.

        Raises what reading its layers raises, PublishError and ToolError of syft.
        """
        if self.source is SbomSource.SYFT:
            return self.syft().document(name, store, manifest, self.form)
        return _MAKERS[self.form](name, manifest.digest, catalog(self.examiner, store, manifest))
