"""The step of a release that signs, and what it is checked by: what is said of images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from podbuild.build.attest.provenance import Builder
from podbuild.build.attest.sbom import SBOM_TYPES, SbomMaker
from podbuild.build.attest.signer import SigningSetup
from podbuild.build.attest.subjects import Describer
from podbuild.build.attest.vex import vex_documents
from podbuild.build.engines import Engines, source_of
from podbuild.commands.record import Recorder
from podbuild.config.attest import Attest, SbomSource
from podbuild.config.model import Config
from podbuild.config.template import Placeholders
from podbuild.errors import (
    CredentialError,
    PartialReleaseError,
    PodbuildError,
    PublishError,
    VerificationError,
)
from podbuild.oci.examine import LAYERS, Examiner
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.statements import BUNDLE, SAYS, VEX, Referrer
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, Planned, own_failure
from podbuild.plan.journal import Journal
from podbuild.plan.model import Plan
from podbuild.plan.tags import TagKind
from podbuild.publish.attach import Attached, Attacher
from podbuild.publish.attested import Demand, Held, StatementChecker, Statements, same_everywhere
from podbuild.publish.carry import Promoted, StatementCarrier
from podbuild.publish.classic import ClassicSigner
from podbuild.publish.move import Moved, Outcome
from podbuild.publish.upload import Published
from podbuild.report.text import attest_line
from podbuild.semver import Version
from podbuild.system.files import write_atomically
from podbuild.workspace import Services


def check_signing(services: Services, plan: Plan) -> None:
    """Try who signs and what describes images, before anything is built.

    Raises CredentialError and ToolError, ConfigError for a VEX file.
    """
    sbom_maker(services).check()
    vex_documents(services.config, _published(services.config))
    setup = _setup(services, plan.version)
    if setup:
        setup.check()


def signing_state(services: Services) -> str:
    """Say who signs, once that was tried; empty where nothing is said of images.

    Raises as `check_signing` does.
    """
    config = services.config
    if config.attest is None:
        return ""
    sbom_maker(services).check()
    vex_documents(config, _published(config))
    setup = _setup(services)
    if setup:
        setup.check()
    return attest_line(config.attest)


def _published(config: Config) -> tuple[str, ...]:
    return tuple(image.name for image in config.images if image.publish)


def _setup(services: Services, version: Version | None = None) -> SigningSetup | None:
    """Give who signs by the configuration; None where nothing is to be signed."""
    config = services.config
    if config.attest is None or config.attest.sign is None:
        return None
    return SigningSetup(
        signing=config.attest.sign,
        root=config.root,
        environment=services.environment,
        runner=services.runner,
        folders=services.folders,
        values=Placeholders(project=config.project.name, env=config.env),
        version=str(version) if version else "",
        on_secret=services.ui.redactor.add,
    )


def _classic(setup: SigningSetup, sign: Callable[[bytes], bytes | None]) -> ClassicSigner | None:
    """Give who signs for podman, where that is asked for."""
    key = setup.public_key() if setup.signing.podman else None
    return ClassicSigner(key=key, sign=sign) if key else None


def examiner_of(services: Services) -> Examiner:
    """Give what reads layers and remembers what it read."""
    return Examiner(services.folders.cache / LAYERS, services.cancel)


def sbom_maker(services: Services) -> SbomMaker:
    """Give what makes SBOMs, as the configuration says."""
    attest = services.config.attest or Attest()
    return SbomMaker.of(attest, services.runner, services.folders)


_AT_ONCE = 8  # names of images that are looked at


@dataclass(frozen=True, kw_only=True)
class Attesting:
    """What attaching needs besides the images: the plan, where bytes are, what was done before."""

    services: Services
    planned: Planned
    source: Callable[[str], Store]
    journal: Journal

    def attach(
        self, images: Mapping[str, Manifest], destinations: tuple[Destination, ...]
    ) -> Attached:
        """Say of these images what is to be said, wherever they are; raises as Attacher does."""
        services = self.services
        setup = _setup(services, self.planned.plan.version)
        signer = setup.signer() if setup else None
        describer = Describer(
            settings=services.config.attest or Attest(),
            source=self.source,
            maker=sbom_maker(services),
            vex=vex_documents(services.config, _published(services.config)),
            planned=self.planned,
            project=services.config.project.source,
            builder=Builder.of(services.environment),
            journal=self.journal,
        )
        attacher = Attacher(
            destinations=destinations,
            signer=signer,
            classic=_classic(setup, signer.signature) if setup and signer else None,
            journal=self.journal,
            cancel=services.cancel,
            keep=partial(_write_statement, services.config.output / "statements"),
        )
        return attacher.attach(describer.subjects(images))


def _write_statement(folder: Path, name: str, referrer: Referrer) -> None:
    """Keep what is said where people and other programs find it: dist/statements."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", name)
    signed = referrer.manifest.content.get("artifactType") == BUNDLE
    for kind, blob in zip(referrer.predicate_types, referrer.blobs, strict=True):
        said = SAYS.get(kind, "statement").lower()
        number = f"-{Digest.of(blob).hex[:12]}" if kind == VEX else ""  # there may be older ones
        file = f"{slug}.{said}{number}.{'sigstore' if signed else 'intoto'}.json"
        write_atomically(folder / file, blob)


def attest(
    engines: Engines, planned: Planned, published: Published, record: Recorder
) -> tuple[Published, Held]:
    """Attach what is said of the images before any tag names them.

    Raises PublishError where a required registry lacks a statement; optional ones get no tags.
    """
    services = engines.services
    with record.step("attest"):
        attesting = Attesting(
            services=services,
            planned=planned,
            source=source_of(planned, engines.staging),
            journal=engines.journal,
        )
        attached = attesting.attach(published.images, published.at)
        failed = {**published.failed, **attached.failed}
        left = tuple(each for each in published.at if each not in attached.failed)
        done = replace(published, at=left, failed=failed)
        record.attested(attached, done)
    return done, attached.held


def carry_statements(
    services: Services, promoted: Iterable[Promoted]
) -> Mapping[Destination, PodbuildError]:
    """Carry what is said of images to where they go; gives the optional registries that lack it.

    Raises PublishError where a required one would name what nobody accepted has signed.
    """
    setup = _setup(services)
    carrier = StatementCarrier(
        checker=statement_checker(services),
        classic=_classic(setup, lambda data: setup.signer().signature(data)) if setup else None,
        cancel=services.cancel,
    )
    return carrier.carry(promoted)


def verify_moved(
    services: Services, plan: Plan, moved: Moved, held: Held, warn: Callable[[str], None]
) -> None:
    """Check what is said of the images that tags name now; raises as `require_statements` does.

    `held` is what this run knows to be attached.
    """
    orders = [each.order for each in moved.tags if each.outcome in (Outcome.MOVED, Outcome.ALREADY)]
    version = str(plan.version) if plan.version else ""
    named = (
        Named(
            order.destination,
            order.tag,
            order.manifest,
            version if order.kind is TagKind.VERSION else "",
        )
        for order in orders
    )
    checker = replace(statement_checker(services), known=held)
    require_statements(checker, named, warn)


class Named(NamedTuple):
    """What a tag names at a destination; `version` where the tag is that of a version."""

    destination: Destination
    tag: Tag
    manifest: Manifest
    version: str = ""


def statement_checker(services: Services) -> StatementChecker:
    """Give what checks statements by the configuration.

    Raises CredentialError where the accepted key can't be read, ToolError without what verifies.
    """
    attest = services.config.attest or Attest()
    setup = _setup(services)
    demand = Demand(
        accepted=setup.accepted() if setup else None,
        sbom=attest.sbom is not SbomSource.OFF,
        provenance=attest.provenance,
        sbom_type=SBOM_TYPES[attest.sbom_format],
        vex=frozenset(vex_documents(services.config, _published(services.config))),
        classic=setup.public_key() if setup and setup.signing.podman else None,
        by="identity" if attest.sign and attest.sign.keyless else "key",
    )
    return StatementChecker(demand, services.cancel)


def check_statements(
    checker: StatementChecker, named: Iterable[Named]
) -> tuple[tuple[Statements, ...], tuple[str, ...]]:
    """Give what is attached to these images, and all that is wrong with it.

    Raises what required registries raise when they can't be asked; optional ones are problems.
    """
    found = []
    problems = []
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="statements") as pool:
        every = tuple(named)
        for one, each in zip(every, pool.map(partial(_checked, checker), every), strict=True):
            where = one.destination.store.reference(one.tag)
            if isinstance(each, PodbuildError):
                problems.append(f"{where}: {each.message}")
                continue
            found.append(each)
            problems += [f"{where}: {problem}" for problem in each.problems]
    return tuple(found), (*problems, *same_everywhere(found))


def _checked(checker: StatementChecker, named: Named) -> Statements | PodbuildError:
    """Give what is attached, or why an optional registry can't say."""
    try:
        return checker.check(*named)
    except PodbuildError as error:
        if named.destination.required:
            raise
        return own_failure(error, checker.cancel)


def require_statements(
    checker: StatementChecker,
    named: Iterable[Named],
    warn: Callable[[str], None],
) -> None:
    """Check what a release has attached; raises VerificationError for required registries.

    Of optional ones `warn` hears every difference.
    """
    every = tuple({(each[0].key, each[2].digest, each[3]): each for each in named}.values())
    try:
        _, problems = check_statements(checker, (each for each in every if each[0].required))
    except (PublishError, CredentialError) as error:
        raise PartialReleaseError(
            f"all tags have moved, but what is said of them can't be read: {error.message}",
            hint="run the same command again: it verifies what is there",
            details=error.details,
        ) from error
    if problems:
        raise VerificationError(
            f"what is said of the images is not what was attached: {len(problems)} "
            f"difference{'s' if len(problems) > 1 else ''}",
            hint="run the same command again: it attaches what is missing",
            details=problems,
        )
    _, others = check_statements(checker, (each for each in every if not each[0].required))
    for problem in others:
        warn(problem)
