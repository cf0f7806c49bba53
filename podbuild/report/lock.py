"""images.lock.json: which images a release is made of, from which everything else is pinned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.names import Digest
from podbuild.report.model import ImageReport, Report
from podbuild.system.files import read_plain
from podbuild.system.records import JSONValue, parse_json, string_map

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class LockedImage:
    """One image: what its tag names, and in which repository each registry has it."""

    name: str
    tag: str
    digest: Digest  # of the index, or of the only platform's manifest
    platforms: Mapping[str, Digest] = field(hash=False)
    repositories: Mapping[str, str] = field(hash=False)  # by the registry's name


@dataclass(frozen=True, kw_only=True)
class Lock:
    """All images that one version or tag names."""

    project: str
    version: str  # empty where a tag was asked for, or for a snapshot
    images: tuple[LockedImage, ...]

    def image(self, name: str) -> LockedImage | None:
        """Give an image by its name; None where it is not locked."""
        return next((each for each in self.images if each.name == name), None)


def lock_of(report: Report) -> Lock:
    """Give the lock of what a run has put under tags; no image where nothing is live."""
    images = (_locked(report, image) for image in report.published_images)
    return Lock(
        project=report.project,
        version=report.version,
        images=tuple(each for each in images if each),
    )


def _locked(report: Report, image: ImageReport) -> LockedImage | None:
    live = [target for target in report.targets if target.image == image.name and target.live]
    if image.digest is None or not live:
        return None
    return LockedImage(
        name=image.name,
        tag=str(live[0].live[0].tag),
        digest=image.digest,
        platforms={str(part.platform): part.digest for part in image.platforms},
        repositories={target.registry: target.repository for target in live},
    )


def lock_json(lock: Lock) -> str:
    """Give the file; the same release gives the same bytes."""
    return json.dumps(lock_value(lock), indent=2, ensure_ascii=False) + "\n"


def lock_value(lock: Lock) -> dict[str, JSONValue]:
    """Give the content of the file."""
    images: dict[str, JSONValue] = {
        each.name: {
            "tag": each.tag,
            "digest": str(each.digest),
            "platforms": {name: str(found) for name, found in sorted(each.platforms.items())},
            "repositories": dict(each.repositories),
        }
        for each in lock.images
    }
    return {"schema": SCHEMA, "project": lock.project, "version": lock.version, "images": images}


def read_lock(path: Path) -> Lock | None:
    """Give what the file says; None where there is none.

    Raises ConfigError for a file that is no lock of this form.
    """
    try:
        match parse_json(read_plain(path)):
            case {"schema": 1, "project": str(project), "version": str(version), "images": dict(i)}:
                return Lock(project=project, version=version, images=tuple(_images(i)))
            case _:
                pass
    except FileNotFoundError:
        return None
    except (OSError, ValueError, PodbuildError):
        pass
    raise ConfigError(f"{path} is no images.lock.json of this podbuild", hint="remove it")


def _images(found: Mapping[str, JSONValue]) -> Iterable[LockedImage]:
    for name, value in found.items():
        match value:
            case {"tag": str(tag), "digest": str(digest), "platforms": p, "repositories": r}:
                yield LockedImage(
                    name=name,
                    tag=tag,
                    digest=Digest(digest),
                    platforms={k: Digest(v) for k, v in string_map(p).items()},
                    repositories=string_map(r),
                )
            case _:
                raise ValueError(name)
