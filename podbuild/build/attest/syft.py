"""syft, where the configuration asks for it: it knows more kinds of packages than podbuild.

It reads a layout of one image in a folder of its own. What is random in its document is made a
function of the image, so that the same image and the same syft give the same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.attest.cyclonedx import serial_number
from podbuild.build.toolchain.model import read_record
from podbuild.config.attest import SbomFormat
from podbuild.errors import PublishError, ToolError
from podbuild.oci.layout import LayoutStore, named_index_bytes
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest
from podbuild.oci.statements import canonical
from podbuild.oci.store import Store, copy_blob
from podbuild.system.files import write_atomically
from podbuild.system.folders import Folders
from podbuild.system.process import CommandError, Runner
from podbuild.system.records import JSONValue, json_in, object_of

_SECONDS = 900.0
_FORM = 1  # of what is made of its document
_CREATED = "2000-01-01T00:00:00Z"
_OUTPUT = {SbomFormat.SPDX: "spdx-json", SbomFormat.CYCLONEDX: "cyclonedx-json"}
_QUIET = {"SYFT_CHECK_FOR_APP_UPDATE": "false", "SYFT_FILE_METADATA_SELECTION": "none"}


@dataclass(frozen=True, kw_only=True)
class Syft:
    """The program, and where its documents are kept."""

    program: Path
    version: str
    runner: Runner = field(repr=False)
    cache: Path

    @classmethod
    def find(cls, runner: Runner, folders: Folders) -> Syft:
        """Give syft of the PATH or of the private toolchain; raises ToolError."""
        record = read_record(folders)
        private = record.folder / "bin" / "syft" if record else None
        program = runner.which("syft") or (private if private and private.is_file() else None)
        hint = 'install syft on the PATH, or write sbom = "auto"'
        if program is None:
            raise ToolError('sbom = "syft" needs syft, and there is none', hint=hint)
        try:
            said = runner(str(program), "version", "-o", "json", timeout=60.0).out
            version = str((object_of(said) or {})["version"])
        except (CommandError, KeyError):
            raise ToolError(f"{program} does not say its version", hint=hint) from None
        cache = folders.cache / "sbom"
        return cls(program=program, version=version, runner=runner.extended(_QUIET), cache=cache)

    def document(
        self, name: str, store: Store, manifest: Manifest, form: SbomFormat
    ) -> dict[str, JSONValue]:
        """Give the document of one platform's image; raises PublishError where syft fails."""
        key: JSONValue = [_FORM, self.version, form.value, name, str(manifest.digest)]
        file = self.cache / Digest.of(canonical(key)).hex
        if isinstance(known := json_in(file), dict):
            return known
        with tempfile.TemporaryDirectory(prefix="podbuild-syft-", dir=_made(self.cache)) as folder:
            found = self._scanned(Path(folder), name, store, manifest, form)
        fixed = _spdx(found, manifest) if form is SbomFormat.SPDX else _cyclonedx(found, manifest)
        write_atomically(file, canonical(fixed))
        return fixed

    def _scanned(
        self, folder: Path, name: str, store: Store, manifest: Manifest, form: SbomFormat
    ) -> dict[str, JSONValue]:
        layout = LayoutStore(folder)
        for blob in manifest.blobs:
            copy_blob(store, layout, blob)
        layout.put_manifest(manifest)
        (folder / "index.json").write_bytes(named_index_bytes(manifest.descriptor, "image"))
        argv = ("scan", f"oci-dir:{folder}", "--quiet", "--output", _OUTPUT[form])
        source = ("--source-name", name, "--source-version", str(manifest.digest))
        try:
            said = self.runner(str(self.program), *argv, *source, timeout=_SECONDS).out
        except CommandError as error:
            raise PublishError(
                f"{name}: syft fails: {error.message}", details=error.details
            ) from error
        found = object_of(said)
        if found is None:
            raise PublishError(f"{name}: syft gave no document")
        return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _spdx(found: dict[str, JSONValue], manifest: Manifest) -> dict[str, JSONValue]:
    """Give its SPDX document without files, sorted, and without what is random."""
    files = {each["SPDXID"] for each in _objects(found.get("files"))}
    relations = [
        each
        for each in _objects(found.get("relationships"))
        if not {each.get("spdxElementId"), each.get("relatedSpdxElement")} & files
    ]
    info = found.get("creationInfo")
    created = {**(info if isinstance(info, dict) else {}), "created": _CREATED}
    return {
        **{key: value for key, value in found.items() if key != "files"},
        "creationInfo": created,
        "documentNamespace": f"https://podbuild.github.io/spdx/syft-{_FORM}/{manifest.digest.hex}",
        "packages": _sorted(_objects(found.get("packages"))),
        "relationships": _sorted(relations),
    }


def _cyclonedx(found: dict[str, JSONValue], manifest: Manifest) -> dict[str, JSONValue]:
    metadata = found.get("metadata")
    kept = {**metadata} if isinstance(metadata, dict) else {}
    kept.pop("timestamp", None)
    return {
        **found,
        "metadata": kept,
        "serialNumber": serial_number(f"syft-{_FORM}", manifest.digest),
        "components": _sorted(_objects(found.get("components"))),
        "dependencies": _sorted(_objects(found.get("dependencies"))),
    }


def _objects(value: JSONValue) -> list[dict[str, JSONValue]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _sorted(values: Iterable[dict[str, JSONValue]]) -> list[JSONValue]:
    return [*sorted(values, key=canonical)]
