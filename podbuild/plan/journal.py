"""What a release has done already: `dist/state.json`, saved after every step.

The journal binds to configuration, commit, version and toolchain, never to what registries
hold. A killed release reads it and goes on; a finished one leaves it for the reports.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from podbuild.errors import ConfigError, PodbuildError, VerificationError, VersionError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.system.files import move, read_plain, write_atomically
from podbuild.system.later import dataclass
from podbuild.system.records import Filed, JSONValue, parse_json

SCHEMA = 1
NAME = "state.json"


class Section(StrEnum):
    """The kinds of things a journal remembers, in the order in which a release does them."""

    BEGAN = "began"  # the day, which tags may name
    PINS = "pins"
    BUILT = "built"
    ASSEMBLED = "assembled"
    TESTED = "tested"  # trials that an image has passed, by their key
    PROVENANCE = "provenance"  # of each job that was built, as its build knew it
    PUBLISHED = "published"
    ATTESTED = "attested"
    BEFORE = "before"
    MOVED = "moved"
    SUPERSEDED = "superseded"


class TagKey(NamedTuple):
    """A tag at a destination, as the journal names it: registry/image:tag."""

    place: str  # registry and image, as `Destination.key`
    tag: Tag

    def __str__(self) -> str:
        return f"{self.place}:{self.tag}"

    @classmethod
    def parse(cls, text: str) -> TagKey | None:
        """Read one; None for what is none.

        >>> TagKey.parse("ghcr/web:1.2.3").tag.text
        '1.2.3'
        """
        place, _, tag = text.rpartition(":")
        try:
            return cls(place, Tag(tag)) if place else None
        except VersionError:
            return None


class ImageKey(NamedTuple):
    """An image or index at a destination: registry/image@digest, with .sig its signature."""

    place: str
    digest: Digest
    signed: bool = False

    def __str__(self) -> str:
        return f"{self.place}@{self.digest}{_SIGNED if self.signed else ''}"

    @classmethod
    def parse(cls, text: str) -> ImageKey | None:
        """Read one; None for what is none."""
        place, _, digest = text.removesuffix(_SIGNED).rpartition("@")
        try:
            return cls(place, Digest(digest), text.endswith(_SIGNED)) if place else None
        except VerificationError:
            return None


_SIGNED = ".sig"
Key = str | TagKey | ImageKey  # of an entry; of a job, an image or a pin its own text


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What must be the same for a journal to be continued."""

    release: str  # the version, or the branch of a snapshot
    commit: str
    configuration: str  # digest of the configuration as resolved
    toolchain: str  # engine and its version

    def differences(self, other: Binding) -> tuple[str, ...]:
        """Name the fields that differ, for people."""
        return tuple(
            f"another {name}"
            if old.startswith("sha256:")
            else f"{name} {old or 'unknown'} -> {new or 'unknown'}"
            for (name, old), new in zip(asdict(self).items(), asdict(other).values(), strict=True)
            if old != new
        )


class Journal:
    """The record of one release; each change is on disk before the call returns.

    Safe to use from several threads.
    """

    def __init__(
        self, path: Path, binding: Binding, sections: Mapping[Section, dict[str, JSONValue]]
    ) -> None:
        self.path = path
        self.binding = binding
        self._kept = Filed({name.value: sections.get(name, {}) for name in Section})
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._finished = False
        self._changes = self._saved = 0

    def get(self, section: Section, key: Key) -> JSONValue:
        """Give what was recorded; None where nothing was."""
        with self._lock:
            return self._kept.drawers[section].get(str(key))

    def items(self, section: Section) -> Iterator[tuple[str, JSONValue]]:
        """Give all of one section, as it stands now."""
        with self._lock:
            found = tuple(self._kept.drawers[section].items())
        return iter(found)

    def record(self, section: Section, key: Key, value: JSONValue) -> None:
        """Remember one thing, for good. Raises ConfigError or BuildError (no space left)."""
        self.record_all(section, {str(key): value})

    def record_all(self, section: Section, values: Mapping[str, JSONValue]) -> None:
        """Remember several things at once; raises as `record` does."""
        with self._lock:
            known = self._kept.drawers[section]
            for key, value in values.items():
                if known.get(key) != value:
                    self._kept.put(section, key, value)
                    self._changes += 1
        self._save()

    def forget(self, section: Section, key: Key) -> None:
        """Take one thing back: a tag that was undone, a build that is to be done again."""
        with self._lock:
            self._changes += self._kept.drop(section, str(key))
        self._save()

    def forget_all(self, section: Section) -> None:
        """Take all of one section back, so that it is asked for again."""
        with self._lock:
            for key in tuple(self._kept.drawers[section]):
                self._changes += self._kept.drop(section, key)
        self._save()

    def finish(self) -> None:
        """Mark the release as complete."""
        with self._lock:
            self._finished = True
            self._changes += 1
        self._save()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing has been done yet."""
        with self._lock:
            found = self._kept.drawers.items()
            return not any(each for name, each in found if name != Section.BEGAN)

    # What the sections hold, typed.

    def digest(self, section: Section, key: Key) -> Digest | None:
        """Give a recorded digest; None where there is none."""
        value = self.get(section, key)
        try:
            return Digest(value) if isinstance(value, str) else None
        except VerificationError as error:
            raise _damaged(self.path) from error

    def keep_manifest(self, section: Section, key: Key, manifest: Manifest | None) -> None:
        """Remember a manifest's exact bytes, or that there was none."""
        self.record(
            section,
            key,
            {}
            if manifest is None
            else {
                "mediaType": manifest.media_type,
                "data": base64.b64encode(manifest.data).decode("ascii"),
            },
        )

    def manifest(self, section: Section, key: Key) -> Manifest | None:
        """Give the manifest that was kept; None where none was, or nothing was recorded."""
        match self.get(section, key):
            case {"mediaType": str(kind), "data": str(data)}:
                try:
                    return Manifest(kind, base64.b64decode(data, validate=True))
                except binascii.Error as error:
                    raise _damaged(self.path) from error
            case _:
                return None

    def document(self, sections: Mapping[Section, dict[str, JSONValue]]) -> dict[str, JSONValue]:
        """Give a journal of this release with other sections, as its file would have it."""
        return {
            "schema": SCHEMA,
            "binding": asdict(self.binding),
            "finished": self._finished,
            **{name.value: section for name, section in sections.items()},
        }

    def _save(self) -> None:
        """Have all changes on disk; those of others who wait meanwhile are saved with them."""
        with self._saving:
            with self._lock:
                if self._saved == self._changes:
                    return
                changes, text = self._changes, self._kept.text(self.document({}))
            write_atomically(self.path, text.encode())
            self._saved = changes


@dataclass(frozen=True)
class Opened:
    """A journal, and why it does not continue the one found (empty: it does, or none was)."""

    journal: Journal
    started_anew: str = ""


def open_journal(folder: Path, binding: Binding) -> Opened:
    """Continue the journal of this release, or begin one; another release's is put aside.

    A journal of the same release with another commit, configuration or toolchain is not
    continued: what it built is another image. If it has moved tags already, that is an error
    (ConfigError), as the release it began would stay half done.
    """
    path = folder / NAME
    found = read_journal(path)
    if found is not None and found.binding.release != binding.release:
        _put_aside(path, found)
        found = None
    if found is None:
        aside = _aside(folder, binding.release)
        found = read_journal(aside)
        if found is not None:
            move(aside, path)
    if found is None:
        return Opened(Journal(path, binding, {}))
    changed = found.binding.differences(binding)
    if not changed:
        return Opened(Journal(path, binding, found.to_continue))
    if found.sections[Section.MOVED] and not found.finished:
        raise ConfigError(
            f"{path}: an unfinished release of {binding.release} has moved tags already, "
            f"and this one differs ({'; '.join(changed)})",
            hint="go back to what it was built from to finish it, or pass --restart to forget it",
        )
    return Opened(Journal(path, binding, {}), started_anew="; ".join(changed))


def recorded_tags(folder: Path, release: str) -> Mapping[TagKey, Digest]:
    """Give the tags that a release has moved from this machine, and what they name."""
    found = _journal_of(folder, release)
    moved = found.sections[Section.MOVED] if found else {}
    return {
        key: Digest(text)
        for written, text in moved.items()
        if isinstance(text, str) and (key := TagKey.parse(written))
    }


def recorded_day(folder: Path, release: str, commit: str) -> str:
    """Give the day on which an unfinished release of this commit began; empty: it did not."""
    found = _journal_of(folder, release)
    if found is None or found.finished or found.binding.commit != commit:
        return ""
    day = found.sections[Section.BEGAN].get("day")
    return day if isinstance(day, str) else ""


def recorded_toolchain(folder: Path, release: str) -> str:
    """Give the toolchain that this machine's journal of a release is bound to; empty: none is."""
    found = _journal_of(folder, release)
    return found.binding.toolchain if found else ""


def _journal_of(folder: Path, release: str) -> JournalFile | None:
    """Give what this machine remembers of a release, put aside or not; None for nothing."""
    for path in (folder / NAME, _aside(folder, release)):
        found = read_journal(path)
        if found is not None and found.binding.release == release:
            return found
    return None


def restart(folder: Path, binding: Binding) -> Journal:
    """Forget what was done for this release, and only for this one."""
    path = folder / NAME
    _aside(folder, binding.release).unlink(missing_ok=True)
    try:
        found = read_journal(path)
    except ConfigError:  # damaged: forgotten too
        found = None
    if found is not None and found.binding.release != binding.release:
        _put_aside(path, found)
    path.unlink(missing_ok=True)
    return Journal(path, binding, {})


def _put_aside(path: Path, found: JournalFile) -> None:
    """Keep another release's journal while that release is not complete."""
    if not found.finished:
        move(path, _aside(path.parent, found.binding.release))


@dataclass(frozen=True, kw_only=True)
class JournalFile:
    """A journal as its file has it."""

    binding: Binding
    sections: Mapping[Section, dict[str, JSONValue]]
    finished: bool

    @property
    def to_continue(self) -> Mapping[Section, dict[str, JSONValue]]:
        """Give what a run goes on with: the tags of a finished release go back no more.

        Nor do its pins bind a later run, such as a branch's that is built again each night.
        """
        if not self.finished:
            return self.sections
        over = (Section.BEGAN, Section.PINS, Section.BEFORE, Section.SUPERSEDED)
        return {**self.sections, **{section: {} for section in over}}


def read_journal(path: Path) -> JournalFile | None:
    """Give what a journal file holds; None where there is no file. Raises ConfigError."""
    try:
        value = parse_json(read_plain(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    return journal_of(value, path)


def journal_of(value: JSONValue, path: Path | str) -> JournalFile:
    """Give what a journal's document says; `path` is where it was. Raises ConfigError."""
    match value:
        case {
            "schema": int(schema),
            "binding": {
                "release": str(release),
                "commit": str(commit),
                "configuration": str(configuration),
                "toolchain": str(toolchain),
            },
            "finished": bool(finished),
            **rest,
        } if schema == SCHEMA:
            sections = {name: _section(path, rest.get(name, {})) for name in Section}
            binding = Binding(
                release=release, commit=commit, configuration=configuration, toolchain=toolchain
            )
            return JournalFile(binding=binding, sections=sections, finished=finished)
        case _:
            raise _damaged(path)


def _section(path: Path | str, value: object) -> dict[str, JSONValue]:
    if not isinstance(value, dict):
        raise _damaged(path)
    return value


def _damaged(path: Path | str) -> PodbuildError:
    return ConfigError(
        f"{path}: not a journal that this podbuild can read",
        hint="remove it (`podbuild release --restart` does); what registries hold is found again",
    )


def _aside(folder: Path, release: str) -> Path:
    return folder / f"state-{quote(release, safe='+')}.json"  # a branch's name may hold slashes
