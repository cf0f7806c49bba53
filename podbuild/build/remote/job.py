"""One job on a builder: what is sent, what came of it, and its image in staging."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from podbuild.build.engine.files import proxies_with_login
from podbuild.build.inputs.mounted import SecretFile
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.job import Attempted, Site, metrics_of, reported, run_engine
from podbuild.build.model import Cost, Metrics
from podbuild.build.output import Output
from podbuild.build.prepare import (
    BasesAtHand,
    Prepared,
    changed_contexts,
    content_of,
    prepare,
    selected_copies,
)
from podbuild.build.remote.builder import RemoteBuilder, Service, Supplies
from podbuild.build.remote.context import ROOT, Packed, SentFile
from podbuild.build.remote.podman import RemoteOrder, on_builder
from podbuild.build.remote.ssh import LostBuilderError
from podbuild.build.staging.area import repository_name, staged_tag
from podbuild.config.choices import Compression
from podbuild.errors import BuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from podbuild.oci.transport.local import LostServiceError
from podbuild.plan.model import Job
from podbuild.system.folders import project_id
from podbuild.system.process import CommandError, CommandTimeoutError, Finished

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """An image as an engine made it, in staging: what others can build on anywhere."""

    image_id: str
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Remotely:
    """A job for a builder. `bases` are the images of this project that it builds on, by name."""

    site: Site
    builder: RemoteBuilder
    supplies: Supplies
    recipe: Recipe
    bases: Mapping[str, tuple[Job, RawImage]] = field(default_factory=dict)
    is_base: bool = False

    def build(self) -> tuple[Attempted, RawImage | None]:
        """Build it; the image is delivered to staging. Raises LostBuilderError, as `build` does."""
        carried: list[RawImage | None] = []

        def attempt(output: Output) -> Attempted:
            attempted, found = self._attempt(output)
            carried.append(found)
            return attempted

        attempted = reported(self.site, self.recipe, attempt, self.builder.name)
        metrics = replace(attempted.metrics, builder=self.builder.name)
        return replace(attempted, metrics=metrics), carried[-1]

    def _attempt(self, output: Output) -> tuple[Attempted, RawImage | None]:
        output.begin()
        began = time.monotonic()
        job = self.recipe.job
        key = f"{project_id(self.site.workplace.setup.project)}-{job.slug}"
        with (
            self.builder.service(self.supplies, key, self.recipe.compression) as service,
            self._in_time(service) as clock,
            self._noticing(),
            self.site.workplace.temporary(job) as folder,
        ):
            work = _Work(self, service, folder, clock)
            image = work.build(output)
            attempted = work.deliver(image)
            metrics = replace(
                metrics_of(self.site, self.recipe, Cost(), time.monotonic() - began),
                steps=output.steps,
                cached_steps=output.cached,
                times=output.times(partial(work.prepared.instruction, self.recipe)),
            )
        return replace(attempted, metrics=metrics), self._carried(attempted, key)

    def _carried(self, attempted: Attempted, key: str) -> RawImage | None:
        """Give the image as the engine made it, where others build on it or it has lost a part."""
        lossy = self.recipe.compression is Compression.ZSTD  # pushed as OCI
        raw = attempted.delivered
        if raw is None or not (self.is_base or lossy):
            return None
        if lossy:
            with (
                self.builder.service(self.supplies, key, Compression.GZIP) as service,
                self._noticing(),
            ):
                work = _Work(self, service, Path(), _Clock(None))
                raw = work.push(attempted.image_id, raw_tag(self.recipe.job), Compression.GZIP)
        return RawImage(image_id=attempted.image_id, manifest=raw)

    @contextmanager
    def _in_time(self, service: Service) -> Iterator[_Clock]:
        """End the service when the job's time is over, or all is to stop."""
        clock = _Clock(self.recipe.timeout)

        def over() -> None:
            clock.over.set()
            service.stop()

        timer = threading.Timer(self.recipe.timeout or 0, over) if self.recipe.timeout else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            yield clock
        finally:
            if timer:
                timer.cancel()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except LostServiceError as error:
            self.site.cancel.check()
            raise LostBuilderError(
                f"lost the builder {self.builder.name}",
                hint="the same command continues; --no-builders builds here",
            ) from error


def raw_tag(job: Job) -> Tag:
    """Give the tag in staging of an image as an engine made it."""
    return Tag(f"raw-{job.platform.slug}")


class _Clock:
    """Tells whether a job's own time is over."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds or 0.0
        self.over = threading.Event()


class _Work:
    """The steps of one attempt, with its service."""

    def __init__(self, asked: Remotely, service: Service, folder: Path, clock: _Clock) -> None:
        self.prepared: Prepared
        self._asked = asked
        self._site = asked.site
        self._recipe = asked.recipe
        self._service = service
        self._podman = service.podman
        self._folder = folder
        self._clock = clock
        self._memory = _Sent()
        self._selected = selected_copies(asked.site.contents, asked.recipe)

    def build(self, output: Output) -> str:
        """Bring what it builds on, send what it needs, build, and give the image's id there."""
        bases = {name: self._brought(*base) for name, base in self._asked.bases.items()}
        self.prepared = prepare(
            self._recipe,
            self._site.secrets,
            self._folder,
            memory=self._memory,
            bases=BasesAtHand(
                ids=bases,
                storage=self._podman,
                fetch=self._fetch,
                content=content_of(self._site.contents, self._recipe),
            ),
            selected=self._selected,
        )
        order = self._order(bases)
        image = self._run(
            str(self._recipe.job), lambda: self._podman.build(order, output.take), output
        )
        for each in (*bases.values(), image):
            self._service.used(each)
        return image

    def deliver(self, image: str) -> Attempted:
        """Push the image to staging."""
        recipe = self._recipe
        delivered = self.push(image, staged_tag(recipe.job), recipe.compression)
        return Attempted(image_id=image, metrics=Metrics(), delivered=delivered)

    def push(self, image: str, tag: Tag, compression: Compression) -> Manifest:
        """Push an image to a tag of staging, and give what came."""
        name = repository_name(self._recipe.job.image)
        with self._site.staging.granted(name, tag) as grant:
            login = on_builder(grant.login, self._service.port)
            self._run(
                f"{self._recipe.job} (delivery)",
                lambda: self._podman.push(image, f"{login.host}/{name}:{tag}", compression, login),
            )
            if grant.delivered is None:
                raise BuildError(f"{self._recipe.job}: nothing was delivered")
            return grant.delivered

    def _brought(self, base: Job, carried: RawImage) -> str:
        """Bring an image of this project to the builder; it keeps no name there."""
        if self._podman.holds(carried.image_id):
            return carried.image_id
        name = repository_name(base.image)
        with self._site.staging.granted(name, staged_tag(base), reads=True) as grant:
            login = on_builder(grant.login, self._service.port)
            reference = f"{login.host}/{name}@{carried.manifest.digest}"
            self._run(
                f"{self._recipe.job} (its base {base})",
                lambda: self._podman.pull(reference, login),
            )
        self._podman.untag(carried.image_id)
        return carried.image_id

    def _fetch(self, image: str) -> None:
        self._run(str(self._recipe.job), lambda: self._podman.pull(image))

    def _order(self, bases: Mapping[str, str]) -> RemoteOrder:
        site, recipe = self._site, self._recipe
        sent = site.contents.sent(recipe.context, recipe.matcher, recipe.wanted)
        text = SentFile(
            name=f"podbuild-{secrets.token_hex(8)}",
            data=self.prepared.containerfile.read_bytes(),
        )
        values = self._secrets()
        mounts = _mounts(recipe)
        extras = {
            name: Packed(
                folder=each.folder,
                reach=site.contents.sent(each.folder, each.matcher, each.wanted).reach,
                root=ROOT if mounts else "",
            )
            for name, each in recipe.extras.items()
        }
        changed = changed_contexts(site.workplace.views, site.contents, recipe, self._selected)
        written = {
            name: self._memory.packed(path)
            for name, path in {**changed, **self.prepared.folders}.items()
        }
        return RemoteOrder(
            recipe=recipe,
            context=Packed(
                folder=recipe.context,
                reach=sent.reach,
                extras=(text, *values.values()),
                root=ROOT if mounts else "",
            ),
            containerfile=text.name,
            bases=bases,
            folders={**extras, **written},
            secrets={id_: extra.name for id_, extra in values.items()},
            target=self.prepared.target,
            no_cache=site.no_cache or self.prepared.uncached,
            proxies=not proxies_with_login(site.workplace.setup.environment),
        )

    def _secrets(self) -> Mapping[str, SentFile]:
        """Give the values that the service gets, and no disk of this machine does."""
        known = self._site.secrets
        environment = {
            **known.environment(self._recipe.secrets),
            **self.prepared.environment,
        }
        places = {**known.options(self._recipe.secrets), **self.prepared.secrets}
        found = {}
        for id_, place in places.items():
            kind, _, name = place.partition("=")
            data = (
                known.content(id_, self._recipe.secrets)
                if kind == "src"
                else environment[name].encode("utf-8", "surrogateescape")
            )
            found[id_] = SentFile(name=f"podbuild-{secrets.token_hex(8)}", data=data)
        return found

    def _run(self, what: str, act: Callable[[], T], output: Output | None = None) -> T:
        """Do something there, and say as for an engine of this machine why it failed."""

        def once() -> T:
            try:
                return act()
            except (LostServiceError, CommandError):
                if self._clock.over.is_set():
                    raise CommandTimeoutError(self._finished(output)) from None
                raise

        try:
            return run_engine(
                self._site,
                what,
                once,
                log=self._site.shown_log(self._recipe.job),
                step=lambda: self.prepared.step(self._recipe, output.last) if output else None,
            )
        except BuildError as error:
            if self._site.staging.staging.failure is None and "no space left" in error.message:
                found = self._asked.builder.full()
                error.message, error.hint = f"{what}: {found.message}", found.hint
            raise

    def _finished(self, output: Output | None) -> Finished:
        return Finished(
            argv=("podman", "build"),
            code=-15,
            out="",
            tail=tuple(output.lines)[-20:] if output else (),
            seconds=self._clock.seconds,
        )


class _Sent:
    """Keeps secrets that are files of contexts of their own until these are sent."""

    def __init__(self) -> None:
        self._known: dict[Path, SentFile] = {}

    def put(self, file: SecretFile, data: bytes) -> Path:
        """Take a secret, and give what stands for its context."""
        place = Path(f"/{secrets.token_hex(16)}")
        self._known[place] = SentFile(
            name="value", data=data, mode=file.mode, uid=file.uid, gid=file.gid
        )
        return place

    def packed(self, folder: Path) -> Packed:
        """Give the context that a folder, or what stands for one, is."""
        extra = self._known.get(folder)
        return Packed(folder=folder) if extra is None else Packed(extras=(extra,))


def _mounts(recipe: Recipe) -> bool:
    """Tell whether any RUN that is needed has a --mount."""
    return any(
        "--mount" in flag
        for stage in recipe.parsed.needed(recipe.target, recipe.variables)
        for each in stage.instructions
        for flag in each.flags
    )
