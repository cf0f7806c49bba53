"""The JSON files in the output folder, and digests.txt.

From images.lock.json everything else is pinned: it names the images that a release is made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.model import Metrics, SizeChange, TrialResult
from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.names import Digest, Platform
from podbuild.plan.model import Job
from podbuild.report.model import SCHEMA, ImageReport, Report, TargetReport
from podbuild.system.console.text import instant, one_line, shortened
from podbuild.system.files import read_plain
from podbuild.system.records import JSONValue, parse_json, string_map


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


def artifacts_json(report: Report) -> str:
    """Give artifacts.json: every index and image at every registry (GoReleaser's fields)."""
    entries: list[JSONValue] = list(_artifacts(report))
    return _file({"artifacts": entries})


def metadata_json(report: Report) -> str:
    """Give metadata.json: what was released from what, and how it ended."""
    return _file(metadata(report))


def metadata(report: Report) -> dict[str, JSONValue]:
    """Give the content of metadata.json."""
    failure: JSONValue = None
    if report.failure is not None:
        failure = {
            "exit_code": report.failure.exit_code,
            "message": report.failure.message,
            "hint": report.failure.hint,
            "run_code": report.failure.run_code,
        }
    return {
        "project": report.project,
        "version": report.version,
        "tag": report.tag,
        "previous_tag": report.previous_tag,
        "branch": report.branch,
        "commit": report.commit,
        "date": instant(report.date) if report.date else None,
        "dirty": report.dirty,
        "result": report.result.value,
        "podbuild": report.podbuild,
        "engine": report.engine,
        "statements": [
            {"subject": each.subject, "referrer": str(each.referrer), "says": [*each.kinds]}
            for each in report.statements
        ],
        "attest": {"says": report.attest, "verify": [*report.verify]} if report.attest else None,
        "warnings": list(report.warnings),
        "failure": failure,
    }


def metrics_json(report: Report) -> str:
    """Give metrics.json: what each build cost, and the release as a whole (seconds, bytes)."""
    jobs: list[JSONValue] = [_metrics(job, cost) for job, cost in report.metrics.items()]
    phases: list[JSONValue] = [
        {"name": phase.name, "seconds": round(phase.seconds, 3)} for phase in report.phases
    ]
    targets: list[JSONValue] = [
        {"registry": target.registry, "image": target.image, "bytes_sent": target.bytes_sent}
        for target in report.targets
    ]
    return _file(
        {
            "seconds": round(report.seconds, 3),
            "retries": report.retries,
            "requests": report.requests,
            "bytes_sent": report.bytes_sent,
            "cache_hit": report.cache_hit,
            "phases": phases,
            "jobs": jobs,
            "tests": [_test(each) for each in report.tests],
            "targets": targets,
        }
    )


def digests_txt(report: Report) -> str:
    """Give digests.txt: `<hex>  <reference>` of every live tag, sorted."""
    lines = {
        f"{digest.hex}  {tag.reference}"
        for target, digest in _delivered(report)
        for tag in target.live
    }
    return "".join(f"{line}\n" for line in sorted(lines, key=lambda line: line.split("  ")[1:]))


def summary_json(report: Report) -> dict[str, JSONValue]:
    """Give the whole release in short: the `--json` answer and the CI output `json`."""
    images: dict[str, JSONValue] = {
        image.name: _image(report, image) for image in report.published_images
    }
    skipped: list[JSONValue] = [
        {"reference": tag.reference, "outcome": tag.outcome.value, "reason": tag.reason}
        for _, tag in report.left_out
    ]
    tests: list[JSONValue] = [_test(each) for each in report.tests]
    return {
        "schema": SCHEMA,
        **metadata(report),
        "images": images,
        "not_moved": skipped,
        "tests": tests,
    }


def _change(change: SizeChange | None) -> JSONValue:
    if change is None:
        return None
    return {
        "since": change.since,
        "before": change.before,
        "now": change.now,
        "update": change.update,
    }


def _test(test: TrialResult) -> JSONValue:
    return {
        "image": test.job.image,
        "platform": str(test.job.platform),
        "name": test.name,
        "outcome": test.outcome.value,
        "reason": test.why,
        "seconds": round(test.seconds, 3),
        "ready_seconds": test.ready,
        "earlier": test.earlier,
        "log": test.log,
    }


def _image(report: Report, image: ImageReport) -> JSONValue:
    platforms: dict[str, JSONValue] = {
        str(part.platform): {
            "digest": str(part.digest),
            "size": part.size,
            "seconds": round(part.seconds, 3),
            "origin": part.origin.value,
            "reason": part.reason,
            "change": _change(report.changes.get(Job(image.name, part.platform))),
        }
        for part in image.platforms
    }
    targets: dict[str, JSONValue] = {
        target.registry: {
            "repository": target.repository,
            "tags": [tag.reference for tag in target.live],
            "error": target.error,
        }
        for target in report.targets
        if target.image == image.name
    }
    digest = str(image.digest) if image.digest else None
    return {"digest": digest, "platforms": platforms, "registries": targets}


def _artifacts(report: Report) -> Iterator[JSONValue]:
    for target, digest in _delivered(report):
        image = report.image(target.image)
        if image is None:
            continue
        tags: list[JSONValue] = [str(tag.tag) for tag in target.live]
        if image.is_index:
            size = sum(part.size for part in image.platforms)
            yield _artifact(target, digest, None, size) | {
                "extra": {"registry": target.registry, "tags": tags}
            }
        for part in image.platforms:
            yield _artifact(target, part.digest, part.platform, part.size) | {
                "extra": {
                    "registry": target.registry,
                    "tags": [] if image.is_index else tags,
                    "origin": part.origin.value,
                    "reason": part.reason,
                    "seconds": round(part.seconds, 3),
                }
            }


def _artifact(
    target: TargetReport, digest: Digest, platform: Platform | None, size: int
) -> dict[str, JSONValue]:
    return {
        "name": target.image,
        "ref": f"{target.repository}@{digest}",
        "type": "image" if platform else "index",
        "os": platform.os if platform else "",
        "arch": platform.architecture if platform else "",
        "variant": platform.variant if platform else "",
        "digest": str(digest),
        "size": size,
    }


def _delivered(report: Report) -> Iterator[tuple[TargetReport, Digest]]:
    """Give the targets that hold their image, each with the image's digest."""
    for target in report.targets:
        image = report.image(target.image)
        if image is not None and image.digest is not None and not target.error:
            yield target, image.digest


def _metrics(job: Job, cost: Metrics) -> JSONValue:
    return {
        "image": job.image,
        "platform": str(job.platform),
        "seconds": round(cost.seconds, 3),
        "cpu_seconds": round(cost.cpu_seconds, 3) if cost.cpu_seconds else None,
        "peak_memory": cost.peak_memory or None,
        "context_bytes": cost.context_bytes,
        "steps": cost.steps,
        "cached_steps": cost.cached_steps,
        "pulled_steps": cost.pulled_steps,
        "pushed_steps": cost.pushed_steps,
        "layer_bytes": cost.layer_bytes,
        "retries": cost.retries,
        "builder": cost.builder,
        "step_times": [
            {
                "line": each.line,
                "text": shortened(one_line(each.text)),
                "seconds": round(each.seconds, 3),
                "cached": each.cached,
                "pulled": each.pulled,
            }
            for each in cost.times
        ],
    }


def _file(content: dict[str, JSONValue]) -> str:
    return json.dumps({"schema": SCHEMA, **content}, indent=2, ensure_ascii=False) + "\n"
