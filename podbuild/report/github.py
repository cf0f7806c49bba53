"""The outputs of a GitHub Actions step (Forgejo and Gitea read the same file)."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from podbuild.oci import kinds
from podbuild.oci.names import RegistryKind
from podbuild.report.json import summary_json
from podbuild.report.model import Report
from podbuild.system.records import JSONValue

LIMIT = 1_000_000  # bytes of a job's outputs as GitHub counts them, in UTF-16
MARGIN = 100_000  # for the other steps of the job

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")
# Other tools' names for the digests on these kinds of registries (seed T034).


@dataclass(frozen=True)
class Outputs:
    """The text to append to $GITHUB_OUTPUT, and what is missing from it and why."""

    text: str
    problems: tuple[str, ...] = ()


def github_outputs(report: Report, token: Callable[[], str] | None = None) -> Outputs:
    """Give all outputs of field.md 3.5; those that would pass the size limit are left out."""
    values = outputs(report)
    kept: dict[str, str] = {}
    problems = []
    room = LIMIT - MARGIN
    for key, value in sorted(values.items(), key=lambda item: len(item[1])):
        cost = 2 * (len(key) + len(value.encode("utf-16-le", "replace")) // 2)
        if cost > room:
            problems.append(f"output {key!r} is left out: job outputs are limited to 1 MB")
            continue
        room -= cost
        kept[key] = value
    entries = (entry(key, kept[key], token) for key in values if key in kept)
    return Outputs("".join(entries), tuple(problems))


def entry(key: str, value: str, token: Callable[[], str] | None = None) -> str:
    """Give one output in the multi-line form, whose random delimiter no value can end."""
    make = token or _delimiter
    delimiter = make()
    while delimiter in value:
        delimiter = make()
    return f"{key}<<{delimiter}\n{value}\n{delimiter}\n"


def outputs(report: Report) -> Mapping[str, str]:
    """Give the outputs. Digests of several images are lines `image=digest`."""
    digests = {
        image.name: str(image.digest)
        for image in report.published_images
        if image.digest is not None
    }
    matrix: list[JSONValue] = [
        {"image": image.name, "platform": str(part.platform), "digest": str(part.digest)}
        for image in report.images
        for part in image.platforms
    ]
    return {
        "result": report.result.value,
        "version": report.version,
        "tag": report.tag or report.branch,
        "tag-names": "\n".join(report.tag_names),
        "tags": "\n".join(report.references),
        "digest": _digest(digests),
        **dict(_registry_digests(report, digests)),
        "platforms": ",".join(map(str, report.platforms)),
        "cache_hit": "true" if report.cache_hit else "false",
        "build_duration": f"{report.seconds:.0f}",
        "matrix": _compact({"include": matrix}),
        "json": _compact(summary_json(report)),
    }


def _registry_digests(report: Report, digests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    held: dict[tuple[str, RegistryKind], dict[str, str]] = {}
    for target in report.targets:
        if not target.error and target.image in digests:
            here = held.setdefault((target.registry, target.kind), {})
            here[target.image] = digests[target.image]
    for (registry, kind), found in held.items():
        yield f"digest-{_NOT_IN_KEYS.sub('-', registry)}", _digest(found)
        if kind in kinds.HOMES:
            yield kinds.HOMES[kind].output, _digest(found)


def _digest(digests: Mapping[str, str]) -> str:
    r"""Give the only digest; of several images, a line for each.

    >>> _digest({"web": "sha256:1"}), _digest({"web": "sha256:1", "api": "sha256:2"})
    ('sha256:1', 'api=sha256:2\nweb=sha256:1')
    """
    if len(digests) == 1:
        return next(iter(digests.values()))
    return "\n".join(f"{image}={digest}" for image, digest in sorted(digests.items()))


def _compact(value: JSONValue) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _delimiter() -> str:
    return f"podbuild-{secrets.token_hex(16)}"
