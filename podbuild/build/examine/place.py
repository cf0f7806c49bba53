"""Where images are started: their files from the engine's storage, in namespaces of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.engine.failure import explain, is_transient
from podbuild.build.engine.session import Workplace
from podbuild.build.engine.storage import Layers
from podbuild.build.examine.trials import ImageTrial, texts
from podbuild.build.image import read_config
from podbuild.build.model import TrialOutcome, TrialResult
from podbuild.build.staging.area import repository_name, staged_tag
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.emulation import foreign_guests
from podbuild.errors import BuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store, copy_image
from podbuild.plan.model import Job
from podbuild.system.files import write_atomically
from podbuild.system.process import CommandError, CommandTimeoutError, Runner, last_line
from podbuild.system.records import JSONValue, parse_json
from podbuild.system.retry import Retry, Transient
from podbuild.system.terminal import run_attached

_MARGIN = 60.0  # seconds besides a trial's own, for what is around it
_TAIL = 20  # lines of a log in a message
_TAIL_BYTES = 1 << 14
_HOSTS = "127.0.0.1 localhost image\n::1 localhost ip6-localhost ip6-loopback\n"
_PROGRAMS = Path(__file__).parents[1] / "engine" / "programs"
_TRIAL, _ATTACH = (
    (sys.executable, "-I", "-S", str(_PROGRAMS / name)) for name in ("trial.py", "attach.py")
)


@dataclass(frozen=True, kw_only=True)
class TrialImage:
    """One image for one platform that is to be started; `source` has its bytes."""

    job: Job
    manifest: Manifest
    source: Store


@dataclass(frozen=True, kw_only=True)
class TrialPlace:
    """Starts images. Safe to share between threads."""

    workplace: Workplace
    endpoint: StagingRegistry
    retry: Retry

    def carry_out(self, image: TrialImage, one: ImageTrial, logs: Path) -> TrialResult:
        """Give how a trial went; its output goes to a log in `logs`.

        Raises BuildError where it can't be made, and what Cancel.check raises after a stop.
        """
        emulated = bool(foreign_guests((one.job.platform,)))
        timed = one.timed(emulated=emulated)
        name = f"{one.job.slug}-{one.slug}.log"
        log = logs / name
        write_atomically(log, b"")
        with self.workplace.room() as room:
            processes = timed["processes"]
            if one.stdin and isinstance(processes, list) and isinstance(processes[0], dict):
                stdin = room / "stdin"
                stdin.write_bytes(one.stdin.encode("utf-8", "surrogatepass"))
                processes = [{**processes[0], "stdin": str(stdin)}, *processes[1:]]
            files: JSONValue = {"/etc/hosts": _HOSTS, "/etc/hostname": "image\n"}
            mine = {"processes": processes, "log": str(log), "files": files}
            order = self._order(image, room, {**timed, **mine})
            within = timed["within"]
            assert isinstance(within, float)  # noqa: S101  # `ImageTrial.timed` gives it
            said = self._said(one, order, within + _MARGIN)
        return _result(one, said, f"{logs.name}/{name}", _tail(log))

    def attach(
        self, image: TrialImage, order: Mapping[str, JSONValue], files: Mapping[str, str]
    ) -> int:
        """Run an image's process for whoever sits at this terminal; give its exit code.

        `files` are written into it. Raises BuildError where the image can't be had.
        """
        with self.workplace.room() as room:
            path = self._order(image, room, {**order, "files": dict(files)})
            return run_attached(self.workplace.apart, *_ATTACH, str(path))

    def _said(self, one: ImageTrial, order: Path, seconds: float) -> Mapping[str, JSONValue]:
        run: Runner = self.workplace.apart
        try:
            done = run(*_TRIAL, str(order), timeout=seconds)
            said = parse_json(done.out)
            why = "\n".join(done.tail)
        except CommandTimeoutError:
            return {"ok": False, "why": f"it had no end after {seconds:.0f} s"}
        except CommandError as error:
            said, why = None, "\n".join(error.finished.tail) or error.message
        except ValueError:
            said, why = None, "it was stopped"
        if not isinstance(said, dict) or "error" in said:
            first = said.get("error") if isinstance(said, dict) else ""
            raise BuildError(
                f"{one.job}: {one.name} can't be tried: {why or first}",
                hint="`podbuild doctor` tries what this machine can do",
            )
        return said

    # Files.

    def _order(self, image: TrialImage, room: Path, said: Mapping[str, JSONValue]) -> Path:
        """Write what a program is asked; give the file."""
        layers = self._layers(image)
        driver = self.workplace.storage(image.job.platform.slug).driver
        order: dict[str, JSONValue] = {
            **said,
            "graph": str(layers.folder),
            "lower": layers.below,
            "copy": str(layers.copy or ""),
            "fuse": str(driver.mount_program or ""),
            "work": str(room),
            "root": str(room / "root"),
            "pids": self.workplace.has_processes,
        }
        path = room / "order.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(order))
        return path

    def _layers(self, image: TrialImage) -> Layers:
        config = read_config(image.source, image.manifest)
        rootfs = config.get("rootfs")
        contents = texts(rootfs, "diff_ids") if isinstance(rootfs, dict) else ()
        storage = self.workplace.storage(image.job.platform.slug)
        found = storage.layers(contents)
        if found is None:
            self._pull(image)
            found = storage.layers(contents)
        if found is None:
            raise BuildError(f"{image.job}: the engine's storage does not hold its layers")
        return found

    def _pull(self, image: TrialImage) -> None:
        """Bring an image to the engine's storage: it was built elsewhere, or left nothing there."""
        job, staging = image.job, self.endpoint.staging
        name = repository_name(job.image)
        copy_image(image.source, staging.repository(name), image.manifest)
        argv = self.workplace.command.pull(self.endpoint.reference(name, image.manifest.digest))

        def once() -> object:
            own = self.workplace.carrier(job.platform.slug)
            with self._reading(job, own) as runner:
                try:
                    return runner(*argv)
                except CommandError as error:
                    reason = explain(str(job), error, staging.failure)
                    raise (Transient(reason) if is_transient(error) else reason) from error

        self.retry(once)

    @contextmanager
    def _reading(self, job: Job, runner: Runner) -> Iterator[Runner]:
        name = repository_name(job.image)
        with (
            self.endpoint.granted(name, staged_tag(job), reads=True) as grant,
            self.workplace.logged_in(runner, grant.login) as mine,
        ):
            yield mine


def _tail(log: Path) -> tuple[str, ...]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return tuple(lines[-_TAIL:])


def _result(
    one: ImageTrial, said: Mapping[str, JSONValue], log: str, tail: tuple[str, ...]
) -> TrialResult:
    passed, ready, seconds = said.get("ok") is True, said.get("ready"), said.get("seconds")
    outcome = TrialOutcome.PASSED if passed else TrialOutcome.FAILED
    why = str(said.get("why", ""))
    if one.test is None and not passed and said.get("code") == 0:
        # such as a tool with an inherited HEALTHCHECK: containers of it are never unhealthy
        outcome, why = TrialOutcome.SKIPPED, "what it starts ends by itself, with code 0"
    if outcome is TrialOutcome.FAILED and "ended with code" in why and (last := last_line(tail)):
        why = f"{why}: {last}"
    return TrialResult(
        job=one.job,
        name=one.name,
        outcome=outcome,
        why=why,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        ready=float(ready) if isinstance(ready, int | float) else None,
        log=log,
        tail=tail,
        test=one.test,
    )
