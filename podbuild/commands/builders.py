"""The builders of the configuration: whether each can be used, and what it is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from podbuild.build.bases import registries_conf
from podbuild.build.engines import open_staging
from podbuild.build.remote.builder import RemoteBuilder, Service, Supplies
from podbuild.build.remote.context import Packed, SentFile
from podbuild.build.remote.podman import on_builder
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.emulation import EXIT_PROOF, guest_for
from podbuild.config.choices import Compression
from podbuild.errors import BuildError, PodbuildError
from podbuild.oci.names import Platform, Tag
from podbuild.oci.transport.local import LostServiceError
from podbuild.system.console.text import size, table
from podbuild.system.process import CommandError
from podbuild.system.records import JSONValue
from podbuild.workspace import Services

_NAME = "trial"
_COPY = "FROM scratch\nCOPY probe /probe\n"
_RUN = f'{_COPY}RUN ["/probe"]\n'


@dataclass(frozen=True, kw_only=True)
class BuilderState:
    """What became of asking one builder; without an error, what it is."""

    name: str
    host: str
    engine: str = ""
    platforms: tuple[Platform, ...] = ()
    jobs: int = 0
    stored: int = 0  # bytes that last there
    tried: str = ""  # what a build there proved
    error: PodbuildError | None = None

    @property
    def found(self) -> str:
        """Say it for people."""
        if self.error is not None:
            return self.error.message
        platforms = ", ".join(map(str, self.platforms))
        built = f"; {self.tried}" if self.tried else ""
        kept = f", keeps {size(self.stored)}" if self.stored else ""
        return f"{self.engine}, {platforms}, {self.jobs} at a time{kept}{built}"

    def to_json(self) -> JSONValue:
        """Give it as JSON."""
        return {
            "name": self.name,
            "host": self.host,
            "state": "ok" if self.error is None else "failed",
            "engine": self.engine,
            "platforms": [str(each) for each in self.platforms],
            "jobs": self.jobs,
            "stored": self.stored,
            "found": self.found,
            "fix": self.error.hint if self.error else "",
        }


def ask_builders(services: Services, *, build: bool = False) -> tuple[BuilderState, ...]:
    """Connect to every builder, and with `build` let each build one step and push it back."""
    hosts = services.config.builders.each
    if not hosts:
        return ()
    ask = partial(_ask, services, build=build)
    with ThreadPoolExecutor(len(hosts), thread_name_prefix="builder") as pool:
        builders = (RemoteBuilder(each, services.runner, services.folders) for each in hosts)
        return tuple(pool.map(ask, builders))


@dataclass(frozen=True, kw_only=True)
class TidiedBuilder:
    """What lasted on a builder, in bytes, and what still does; None where a run is at work."""

    name: str
    before: int
    after: int | None


def tidy_builders(services: Services, keep: int | None) -> tuple[TidiedBuilder, ...]:
    """Let at most `keep` bytes last on each builder; None changes nothing. Raises as `connect`."""
    done = []
    for each in services.config.builders.each:
        builder = RemoteBuilder(each, services.runner, services.folders)
        try:
            stored = builder.facts().stored
            after = stored if keep is None else builder.tidy(keep)
            done.append(TidiedBuilder(name=each.name, before=stored, after=after))
        finally:
            builder.close()
    return tuple(done)


def tidied_text(done: Sequence[TidiedBuilder]) -> str:
    """Give what lasts on builders as a table."""
    rows = [
        (each.name, size(each.before), "in use" if each.after is None else size(each.after))
        for each in done
    ]
    if not rows:
        return "no builders: [builders.NAME] with a host names one"
    return "\n".join(table(("builder", "kept", "keeps now"), rows, right=("kept", "keeps now")))


def tidied_json(done: Sequence[TidiedBuilder]) -> JSONValue:
    """Give what lasts on builders as JSON."""
    return {
        "schema": 1,
        "builders": [
            {"name": each.name, "before": each.before, "after": each.after} for each in done
        ],
    }


def states_text(states: Sequence[BuilderState]) -> str:
    """Give the states as a table, each failure with its fix below."""
    if not states:
        return "no builders: [builders.NAME] with a host names one"
    rows = [(each.name, each.host, "failed" if each.error else "ok", each.found) for each in states]
    head, *lines = table(("builder", "host", "state", "found"), rows)
    text = [head]
    for line, state in zip(lines, states, strict=True):
        hint = state.error.hint if state.error else ""
        text += [line, *([f"  fix: {hint}"] if hint else [])]
    return "\n".join(text)


def states_json(states: Sequence[BuilderState]) -> JSONValue:
    """Give the states as JSON."""
    return {"schema": 1, "builders": [each.to_json() for each in states]}


def states_code(states: Sequence[BuilderState]) -> int:
    """Give the exit code of the first builder that can't be used; 0 where all can."""
    return next((each.error.exit_code for each in states if each.error), 0)


def _ask(services: Services, builder: RemoteBuilder, *, build: bool) -> BuilderState:
    name, host = builder.name, builder.builder.host
    try:
        facts = builder.facts()
        return BuilderState(
            name=name,
            host=host,
            engine=f"podman {facts.podman} (buildah {facts.buildah})",
            platforms=builder.platforms,
            jobs=builder.slots,
            stored=facts.stored,
            tried=_tried(services, builder) if build else "",
        )
    except PodbuildError as error:
        services.cancel.check()
        return BuilderState(name=name, host=host, error=error)
    finally:
        builder.close()


def _tried(services: Services, builder: RemoteBuilder) -> str:
    """Build a step, push it back, and run a program; raises what fails."""
    with StagingRegistry(open_staging(services)) as staging, _noticing(builder):
        port = int(staging.login.host.rpartition(":")[2])
        supplies = Supplies(port=port, registries=registries_conf(services))
        with builder.service(supplies, _NAME, Compression.GZIP) as service:
            image = _built(builder, service, _COPY)
            try:
                _pushed(staging, service, image)
            finally:
                service.podman.remove(image)
            try:
                _built(builder, service, _RUN)
            except CommandError as error:
                if str(EXIT_PROOF) not in " ".join(error.finished.tail):
                    raise
    return "a RUN ran, an image came back"


def _built(builder: RemoteBuilder, service: Service, text: str) -> str:
    program = guest_for(builder.native).program()
    files = (
        SentFile(name="Containerfile", data=text.encode(), mode=0o644),
        SentFile(name="probe", data=program, mode=0o755),
    )
    return service.podman.build_alone(builder.native, Packed(extras=files), "Containerfile")


def _pushed(staging: StagingRegistry, service: Service, image: str) -> None:
    tag = Tag(f"{_NAME}-{secrets.token_hex(4)}")
    with staging.granted(_NAME, tag) as grant:
        login = on_builder(grant.login, service.port)
        reference = f"{login.host}/{_NAME}:{tag}"
        service.podman.push(image, reference, Compression.GZIP, login)
        if grant.delivered is None:
            raise BuildError("the image did not come back through the tunnel")


@contextmanager
def _noticing(builder: RemoteBuilder) -> Iterator[None]:
    try:
        yield
    except LostServiceError as error:
        raise BuildError(f"{builder.name}: lost in the middle of a build ({error})") from error
    except CommandError as error:
        said = error.finished.tail[-1] if error.finished.tail else error.message
        raise BuildError(
            f"a build of one step fails there: {said}",
            hint=f"ssh {builder.builder.host}, and try podman build there",
            details=error.finished.tail,
        ) from None
