"""The end of a release, for people; what is said of images, by whom, and how others verify it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator

from podbuild.build.model import Origin, TrialOutcome
from podbuild.config.attest import Attest, Placement, SbomFormat, SbomSource, Signing
from podbuild.config.model import Config
from podbuild.config.template import Placeholders
from podbuild.oci.names import Digest, RegistryKind
from podbuild.report.model import (
    ImageReport,
    PlatformReport,
    ReleaseResult,
    Report,
    TagOutcome,
    TargetReport,
)
from podbuild.system.console.text import duration, fold, one_line, size, table

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
_GITHUB = re.compile(r"https://github\.com/([^/]+/[^/]+)/\.github/workflows/")
_FORMATS = {SbomFormat.SPDX: "SPDX", SbomFormat.CYCLONEDX: "CycloneDX"}


def attest_line(attest: Attest) -> str:
    """Say what is attached to images, where, and who signs it."""
    by = " by syft" if attest.sbom is SbomSource.SYFT else ""
    parts = [
        f"SBOM ({_FORMATS[attest.sbom_format]}{by})" if attest.sbom is not SbomSource.OFF else "",
        "provenance (SLSA v1)" if attest.provenance else "",
        f"VEX ({attest.vex})" if attest.vex else "",
        "the index's own attestations" if attest.placement is Placement.INDEX else "",
    ]
    said = ", ".join(filter(None, parts)) or "nothing else"
    return f"{said}; {_by(attest.sign)}"


def _by(sign: Signing | None) -> str:
    if sign is None:
        return "signed by nobody"
    if sign.keyless:
        who = ", or ".join(map(str, sign.identity))
        return f"signed without a key as {who} ({sign.issuer})"
    return f"signed by the key {sign.private}{', for podman too' if sign.podman else ''}"


def verify_commands(config: Config, version: str, targets: Iterable[TargetReport]) -> Iterator[str]:
    """Give the commands that verify what was released, for one name of each image."""
    attest = config.attest
    if attest is None:
        return
    if version:
        yield f"podbuild verify {version}"
    sign = attest.sign
    if sign is None:
        return
    who = shlex.join(_options(config, sign, version))
    owner = _GITHUB.match(sign.identity[0].text) if sign.keyless else None
    for reference in _references(targets):
        yield f"cosign verify {who} {reference}"
        if attest.provenance:
            yield f"cosign verify-attestation --type slsaprovenance1 {who} {reference}"
        if owner and attest.provenance and sign.issuer == GITHUB_ISSUER:
            yield (f"gh attestation verify oci://{reference} --repo {owner[1]} --bundle-from-oci")


def _options(config: Config, sign: Signing, version: str) -> Iterator[str]:
    if not sign.keyless:
        key = os.path.relpath(sign.public_key, config.root) if sign.public_key else "cosign.pub"
        yield from ("--key", key, "--insecure-ignore-tlog=true")
        return
    values = Placeholders(project=config.project.name, env=config.env)
    pinned = sign.pinned(version, values)
    if pinned:
        yield from ("--certificate-identity", pinned)
    else:
        yield from ("--certificate-identity-regexp", sign.pattern(version, values))
    yield from ("--certificate-oidc-issuer", sign.issuer)


def _references(targets: Iterable[TargetReport]) -> Iterator[str]:
    """Give the first tag of each image on a registry: cosign reads no folders."""
    seen: set[str] = set()
    for target in targets:
        if target.live and target.kind is not RegistryKind.LAYOUT and target.image not in seen:
            seen.add(target.image)
            yield target.live[0].reference


def report_text(report: Report, width: int | None = None) -> str:
    """Give the tables of images and registries, what was left out, and how to run an image.

    `width` is that of the terminal that shows it, in columns.
    """
    parts = (
        "\n".join(images_table(report, width)),
        "\n".join(targets_table(report, width)),
        "\n".join(part for line in _remarks(report) for part in fold(line, width)),
        "\n".join(_end(report)),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def images_table(report: Report, width: int | None = None) -> tuple[str, ...]:
    """Give a table of images, platforms, digests, sizes and seconds."""
    rows = [row for image in report.images for row in _image_rows(image, _idle(report, image))]
    header = ("image", "platform", "digest", "size", "time", "origin")
    return table(header, rows, right=("size", "time"), width=width)


def targets_table(report: Report, width: int | None = None) -> tuple[str, ...]:
    """Give a table of what registries have and which tags name it, once where they agree."""
    alike: dict[tuple[str, str, str], list[TargetReport]] = {}
    idle = {image.name for image in _not_staged(report)}
    for target in report.targets:
        if target.image in idle:
            continue
        tags = ", ".join(str(tag.tag) for tag in target.live)
        alike.setdefault((target.image, tags, _trouble(target)), []).append(target)
    rows = [
        (
            ", ".join(target.registry for target in targets),
            ", ".join(target.repository for target in targets),
            tags,
            trouble,
        )
        for (_, tags, trouble), targets in alike.items()
    ]
    return table(("registry", "repository", "tags", "trouble"), rows, width=width)


def run_line(report: Report) -> str:
    """Give the command that runs one of the released images; empty when no tag is live.

    What a registry holds comes before what a folder holds.
    """
    live = [target for target in report.targets if target.live]
    if not live:
        return ""
    best = min(live, key=lambda target: target.kind is RegistryKind.LAYOUT)
    return f"podman run --rm {shlex.quote(best.live[0].reference)}"


def _image_rows(image: ImageReport, idle: str) -> Iterator[tuple[str, ...]]:
    if image.is_index and image.digest is not None:
        yield (image.name, "index", _short(image.digest), "", "", "")
    for part in image.platforms:
        took = duration(part.seconds) if part.origin is Origin.BUILT else ""
        why = f"{part.origin}: {part.reason}" if part.reason else str(part.origin)
        yield (image.name, str(part.platform), _short(part.digest), size(part.size), took, why)
    if not image.platforms and image.digest is None:
        yield (image.name, "", "", "", "", idle)


def _idle(report: Report, image: ImageReport) -> str:
    """Say why there is nothing of an image."""
    if report.failure is not None:
        return "not built"
    return "not staged" if image in _not_staged(report) else "not needed"


def _not_staged(report: Report) -> tuple[ImageReport, ...]:
    """Give what `podbuild push` would have published if it were here."""
    if report.failure is not None or report.result is not ReleaseResult.PARTIAL:
        return ()
    return tuple(
        image
        for image in report.images
        if image.published and not image.platforms and image.digest is None
    )


def _trouble(target: TargetReport) -> str:
    if not target.error:
        return ""
    return f"failed: {target.error}" if target.required else f"failed (optional): {target.error}"


def _remarks(report: Report) -> Iterator[str]:
    yield from _layer_cache(report)
    yield from size_lines(report)
    yield from trial_lines(report)
    yield from (f"attached to {line}" for line in statement_lines(report))
    left: dict[str, list[str]] = {}
    for _, tag in report.left_out:
        reason = f": {one_line(tag.reason)}" if tag.reason else ""
        left.setdefault(f"{tag.outcome}{reason}", []).append(tag.reference)
    yield from (f"{', '.join(references)} {what}" for what, references in left.items())
    for gone in report.removed:
        reason = f": {one_line(gone.reason)}" if gone.reason else ""
        yield f"{gone.repository} {gone.what} {gone.outcome.value}{reason}"
    yield from (f"warning: {one_line(warning)}" for warning in report.warnings)


def tried_text(report: Report, width: int | None = None) -> str:
    """Give how the images' tests went, as a table."""
    rows = [
        (
            each.job.image,
            str(each.job.platform),
            one_line(each.name),
            each.outcome.value,
            duration(each.seconds),
            "" if each.ready is None else duration(each.ready),
        )
        for each in report.tests
    ]
    header = ("image", "platform", "test", "outcome", "time", "ready")
    shown = table(header, rows, right=("time", "ready"), width=width)
    return "\n".join(shown) or "no tests"


def size_lines(report: Report) -> Iterator[str]:
    """Say how sizes have changed, and what whoever has the version before downloads."""
    for job, change in report.changes.items():
        if change.now != change.before or change.update:
            yield f"{job}: {change}, update {size(change.update)}"


def trial_lines(report: Report) -> Iterator[str]:
    """Say how the images' tests went, a line for each that is not simply passed."""
    if not report.tests:
        return
    outcomes = [each.outcome for each in report.tests]
    counts = [f"{outcomes.count(each)} {each}" for each in TrialOutcome if each in outcomes]
    yield f"tests: {', '.join(counts)}"
    for each in report.tests:
        if each.outcome is not TrialOutcome.PASSED:
            yield f"{each.job}: {one_line(each.name)} {each.outcome}: {one_line(each.why)}"
        elif each.ready is not None:
            yield f"{each.job}: ready after {duration(each.ready)}"


def statement_lines(report: Report) -> Iterator[str]:
    """Say what is attached to the images, each kind once."""
    said: dict[str, dict[str, None]] = {}
    for each in report.statements:
        said.setdefault(each.subject, {}).update(dict.fromkeys(each.kinds))
    for subject, kinds in said.items():
        yield f"{subject}: {', '.join(sorted(kinds))}"


def _layer_cache(report: Report) -> Iterator[str]:
    """Say what the registry's layer cache gave, where there is one."""
    costs = report.metrics.values()
    pulled, pushed = (
        sum(cost.pulled_steps for cost in costs),
        sum(cost.pushed_steps for cost in costs),
    )
    if pulled or pushed:
        steps = sum(cost.steps for cost in costs)
        cached = sum(cost.cached_steps for cost in costs)
        yield f"layer cache: {cached} of {steps} steps cached, {pulled} pulled, {pushed} new"


def _end(report: Report) -> Iterator[str]:
    what = f"{report.project} {report.name}".rstrip()
    parts = [part for image in report.images for part in image.platforms]
    if parts and not report.targets and report.result is ReleaseResult.PARTIAL:
        yield f"{what}: {_staged(parts)} in {duration(report.seconds)}"
        yield "next: `podbuild push` publishes by digest, `podbuild release` moves the tags too"
        return
    yield f"{what}: {_result(report)} in {duration(report.seconds)}"
    live = next((target for target in report.targets if target.live), None)
    if (
        report.targets
        and not live
        and report.failure is None
        and report.result is ReleaseResult.PARTIAL
    ):
        lacking = shlex.join(image.name for image in _not_staged(report))
        first = f"`podbuild build {lacking}` builds what is not staged, " if lacking else ""
        yield f"next: {first}`podbuild release` moves the tags"
    if live is not None:
        yield f"run it: podbuild run {shlex.quote(f'{live.image}:{live.live[0].tag}')}"


def _staged(parts: Collection[PlatformReport]) -> str:
    """Say how much was built, and how much was there already, of what goes to no registry yet."""
    built = sum(part.origin is Origin.BUILT for part in parts)
    counts = ((built, "built"), (len(parts) - built, "there before"))
    return ", ".join([*(f"{count} {word}" for count, word in counts if count), "staged"])


def _result(report: Report) -> str:
    effort = [f"{size(report.bytes_sent)} sent"] if report.bytes_sent else []
    if report.retries:
        effort.append(f"{report.retries} {'retry' if report.retries == 1 else 'retries'}")
    if report.result is ReleaseResult.SKIPPED and any(
        tag.outcome is TagOutcome.SKIPPED for _, tag in report.left_out
    ):
        effort.append("a guard kept the tags")
    if report.result is ReleaseResult.PARTIAL and not any(target.live for target in report.targets):
        effort.append("no tag was moved")
    return f"{report.result} ({', '.join(effort)})" if effort else str(report.result)


def _short(digest: Digest) -> str:
    return f"{digest.algorithm}:{digest.short}"
