"""What moving tags left behind: which digests, and when. Kept between releases on one machine.

A registry that lists no untagged manifests can't be asked for them later, so this record is the
only way to find them again. What it loses stays on the registry, which is no harm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path

from podbuild.errors import PodbuildError
from podbuild.oci.names import Digest
from podbuild.plan.journal import ImageKey, Journal, Section
from podbuild.publish.move import Moved
from podbuild.system.files import write_atomically
from podbuild.system.folders import Folders
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue, json_in

_SCHEMA = 1
_LEFT = Section.SUPERSEDED


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The record of one project: `registry/image` -> digest -> when a tag left it."""

    path: Path

    @classmethod
    def of(cls, folders: Folders, root: Path) -> Ledger:
        """Give the ledger of the project in this folder."""
        return cls(path=folders.of_project("superseded", root).with_suffix(".json"))

    def read(self) -> Mapping[str, Mapping[Digest, datetime]]:
        """Give all that is recorded; a damaged record counts as empty."""
        match json_in(self.path):
            case {"schema": int(schema), "left": dict(left)} if schema == _SCHEMA:
                return {key: _digests(found) for key, found in left.items()}
            case _:
                return {}

    def add(self, journal: Journal, now: datetime) -> Mapping[str, Mapping[Digest, datetime]]:
        """Record what a release's tags left, if it is not recorded yet, and give everything."""
        found = {key: dict(digests) for key, digests in self.read().items()}
        for left in filter(None, (ImageKey.parse(key) for key, _ in journal.items(_LEFT))):
            found.setdefault(left.place, {}).setdefault(left.digest, now)
        self._write(found)
        return found

    def forget(self, gone: Mapping[str, AbstractSet[Digest]]) -> None:
        """Strike out what is gone, or what a tag names again, by `registry/image`; all in one."""
        found = {name: dict(left) for name, left in self.read().items()}
        if any(found.get(key, {}).keys() & digests for key, digests in gone.items()):
            for key, digests in gone.items():
                left = found.get(key, {}).items()
                found[key] = {each: when for each, when in left if each not in digests}
            self._write(found)

    def _write(self, found: Mapping[str, Mapping[Digest, datetime]]) -> None:
        left = {
            key: {str(digest): when.isoformat() for digest, when in sorted(digests.items())}
            for key, digests in sorted(found.items())
            if digests
        }
        if left or self.path.exists():
            text = json.dumps({"schema": _SCHEMA, "left": left}, indent=1)
            write_atomically(self.path, text.encode())


def _digests(value: JSONValue) -> Mapping[Digest, datetime]:
    found: dict[Digest, datetime] = {}
    for text, when in value.items() if isinstance(value, dict) else ():
        try:
            moment = datetime.fromisoformat(when if isinstance(when, str) else "")
            found[Digest(text)] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, PodbuildError):
            continue
    return found


def named_again(moved: Moved) -> Mapping[str, AbstractSet[Digest]]:
    """Give what tags name now, by `registry/image`."""
    found: dict[str, set[Digest]] = {}
    for tagged in moved.tags:
        found.setdefault(tagged.order.destination.key, set()).add(tagged.order.manifest.digest)
    return found


def record_superseded(folders: Folders, root: Path, journal: Journal, moved: Moved) -> None:
    """Remember what this release's tags left, for this cleanup and for later ones.

    What a tag names again is struck out: once left anew, its grace begins anew.
    """
    ledger = Ledger.of(folders, root)
    ledger.forget(named_again(moved))
    ledger.add(journal, datetime.now(UTC))
