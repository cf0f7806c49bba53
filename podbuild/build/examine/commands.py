"""Let commands of the user's judge images: each gets the image of one platform as an OCI layout."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from podbuild.build.inputs.lint import Finding, Level
from podbuild.build.model import TrialOutcome, TrialResult
from podbuild.config.toml import shown
from podbuild.config.trials import CheckCommand
from podbuild.errors import ToolError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from podbuild.oci.store import Store, copy_image
from podbuild.plan.model import Job
from podbuild.system.files import write_atomically
from podbuild.system.process import CommandError, CommandTimeoutError, Finished, Runner, last_line
from podbuild.system.records import JSONValue, object_of
from podbuild.system.redact import Redactor, holds_secret

CHECK_RULE = "check"
LAYOUT, REPORT = "PODBUILD_LAYOUT", "PODBUILD_REPORT"
_NAMES = re.compile(r"\$(?:(PODBUILD_[A-Z]+)\b|\{(PODBUILD_[A-Z]+)\})")
_TAG = Tag("image")
_SHOWN = 20  # lines of what a command said


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The commands of a configuration. `root` is its folder, `output` where reports are kept.

    `environment` is the user's, of which a command gets no secret that it does not name, nor one
    of those that builds and registries use (`secrets`).
    """

    commands: tuple[CheckCommand, ...]
    root: Path
    output: Path
    cache: Path
    runner: Runner
    environment: Mapping[str, str]
    secrets: Collection[str]
    redactor: Redactor

    def require(self) -> None:
        """Raise ToolError for a program that is not there, before anything is built."""
        for command in self.commands:
            program = self._program(command)
            if self.runner.which(program) is None:
                raise ToolError(
                    f"[[checks]] {command.title}: {command.run[0]}: no such program",
                    hint="install it, or take the check out",
                )

    def carry_out(
        self, images: Mapping[Job, Manifest], source: Callable[[str], Store]
    ) -> tuple[TrialResult, ...]:
        """Give what the commands say of some images, all of them asked.

        Raises ToolError for a program that is not there, and what Cancel.check raises.
        """
        found: list[TrialResult] = []
        for job, manifest in sorted(images.items(), key=lambda each: each[0]):
            wanted = [each for each in enumerate(self.commands) if _judges(each[1], job)]
            if wanted:
                with TemporaryDirectory(dir=self.cache, prefix="check-") as folder:
                    layout = Path(folder, "layout")
                    copy_image(source(job.image), LayoutStore(layout), manifest, tag=_TAG)
                    found += [
                        self._run(place, command, job, manifest, Path(folder))
                        for place, command in wanted
                    ]
        return tuple(found)

    def _run(
        self, place: int, command: CheckCommand, job: Job, manifest: Manifest, folder: Path
    ) -> TrialResult:
        report = folder / "report"
        report.unlink(missing_ok=True)
        told = {
            LAYOUT: str(folder / "layout"),
            REPORT: str(report),
            "PODBUILD_IMAGE": job.image,
            "PODBUILD_PLATFORM": str(job.platform),
            "PODBUILD_DIGEST": str(manifest.digest),
        }
        words = [_filled(word, told) for word in command.run[1:]]
        runner = Runner(
            env={**self._environment(command), **told}, cwd=self.root, cancel=self.runner.cancel
        )
        began, why = time.monotonic(), ""
        try:
            done = runner(self._program(command), *words, timeout=command.timeout)
        except CommandError as error:
            done, why = error.finished, _why(error)
        kept = self._keep(f"{job.slug}-check-{command.title}", report, done)
        return TrialResult(
            job=job,
            name=f"check {command.title}",
            outcome=TrialOutcome.FAILED if why else TrialOutcome.PASSED,
            why=self.redactor.cut(why),
            seconds=time.monotonic() - began,
            log=kept,
            tail=tuple(map(self.redactor.cut, done.tail[-_SHOWN:])),
            test=place,
        )

    def _program(self, command: CheckCommand) -> str:
        """Give a program by its name, or its path from the configuration's folder."""
        name = command.run[0]
        return str(self.root / name) if "/" in name else name

    def _environment(self, command: CheckCommand) -> dict[str, str]:
        given = {
            name: value
            for name, value in self.runner.env.items()
            if not holds_secret(name) and name not in self.secrets
        }
        named = {name: self.environment[name] for name in command.env if name in self.environment}
        return {**given, **named}

    def _keep(self, name: str, report: Path, done: Finished) -> str:
        """Keep what a command wrote to its report, else to stdout; give the file's name."""
        text = report.read_text("utf-8", "replace") if report.is_file() else done.out
        sarif = _sarif(text)
        if sarif is None:
            text = self.redactor.cut("\n".join((text, *done.tail)).strip("\n") + "\n")
        else:  # inside its values, so that it stays JSON
            text = json.dumps(self.redactor.cut_json(sarif), indent=2, ensure_ascii=False) + "\n"
        for other in (".sarif", ".log"):
            (self.output / "logs" / f"{name}{other}").unlink(missing_ok=True)
        file = f"logs/{name}{'.log' if sarif is None else '.sarif'}"
        write_atomically(self.output / file, text.encode("utf-8", "replace"))
        return file


def refused_images(
    results: Collection[TrialResult], output: Path, place: Callable[[int], tuple[str, int]]
) -> Iterator[Finding]:
    """Give a finding for each image that a command refused; `place` says where it is written."""
    for each in results:
        if each.outcome is TrialOutcome.FAILED and each.test is not None:
            file, line = place(each.test)
            yield Finding(
                level=Level.ERROR,
                file=file,
                line=line,
                message=f"{each.name}: {each.why}",
                hint=f"{shown(output / each.log)} has what it found",
                rule=CHECK_RULE,
                image=each.job.image,
                platforms=(each.job.platform,),
            )


def _judges(command: CheckCommand, job: Job) -> bool:
    return (not command.images or job.image in command.images) and (
        not command.platforms or job.platform in command.platforms
    )


def _filled(word: str, told: Mapping[str, str]) -> str:
    """Put what a command is told in place of its names; other variables stay as they are.

    >>> _filled("--input=$PODBUILD_LAYOUT/x", {"PODBUILD_LAYOUT": "/tmp/l"})
    '--input=/tmp/l/x'
    """
    return _NAMES.sub(lambda found: told.get(found[1] or found[2], found[0]), word)


def _why(error: CommandError) -> str:
    if isinstance(error, CommandTimeoutError):
        return f"it had no end within {error.finished.seconds:.0f} s"
    last = last_line(error.finished.tail)
    said = f": {last}" if last else ""
    return f"it ended with code {error.finished.code}{said}"


def _sarif(text: str) -> JSONValue:
    """Read SARIF; None where it is something else."""
    value = object_of(text)
    is_it = value is not None and isinstance(value.get("runs"), list)
    return value if is_it else None
