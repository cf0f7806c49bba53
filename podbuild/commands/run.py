"""`podbuild run`: start a staged or published image, for whoever sits at this terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.engines import ChosenToolchain, Engines, open_staging, source_of
from podbuild.build.examine.place import TrialImage
from podbuild.build.examine.trials import process, texts
from podbuild.build.handover import restock
from podbuild.build.image import read_config
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.commands.complete import staged_image, tagged_image
from podbuild.commands.relocate import plan_of
from podbuild.config.choices import VARIABLE
from podbuild.config.keys import Invalid
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.plan.destination import Planned, open_destinations
from podbuild.plan.journal import NAME, Binding, Journal, read_journal
from podbuild.plan.model import Job, Plan, PlannedImage, Request
from podbuild.system.records import JSONValue
from podbuild.system.terminal import at_terminal
from podbuild.workspace import Services

_FILES = ("/etc/hosts", "/etc/resolv.conf")  # of this machine, whose network it has


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be run: `arguments` stand for CMD; without a tag, what is staged."""

    image: str
    tag: str = ""
    platform: Platform | None = None
    arguments: tuple[str, ...] = ()
    entrypoint: str | None = None
    variables: tuple[str, ...] = ()
    user: str = ""
    network: str = "host"


def run_image(services: Services, wish: Wish) -> int:
    """Run an image and give its program's exit code.

    Raises ConfigError for an unknown image or platform, and where nothing is staged; VersionError
    where no registry has the tag; ToolError where the platform can't run here.
    """
    services.config.image(wish.image)
    plan = plan_of(services, Request(images=(wish.image,)))
    image = _image(services, wish, plan)
    inner = read_config(image.source, image.manifest).get("config")
    order = _order(services, wish, inner if isinstance(inner, dict) else {})
    engines = Engines(
        services=services,
        plan=plan,
        journal=Journal(services.config.output / "run.json", _NOTHING, {}),  # records nothing
        toolchain=ChosenToolchain(services.runner, services.folders, services.environment),
    )
    with engines:
        place = engines.session.place((image.job.platform,))
        return place.attach(image, order, dict(_files(wish)))


def _image(services: Services, wish: Wish, plan: Plan) -> TrialImage:
    planned = plan.image(wish.image)
    job = Job(wish.image, _platform(planned, wish.platform))
    destinations = open_destinations(services.opener, plan)
    if wish.tag:
        store, manifest = tagged_image(services, planned, destinations, wish.tag, job.platform)
        return TrialImage(job=job, manifest=manifest, source=store)
    output, staging = services.config.output, open_staging(services)
    known = read_journal(output / NAME)
    if known is not None:  # the cache may have lost what the output folder has
        restock(output, Journal(output / NAME, known.binding, known.sections), staging)
    source = source_of(Planned(plan=plan, destinations=destinations), staging)(wish.image)
    return TrialImage(job=job, manifest=staged_image(services, job, source), source=source)


_NOTHING = Binding(release="", commit="", configuration="", toolchain="")


def _order(
    services: Services, wish: Wish, config: Mapping[str, JSONValue]
) -> Mapping[str, JSONValue]:
    argv = (*texts(config, "Entrypoint"), *(wish.arguments or texts(config, "Cmd")))
    if wish.entrypoint is not None:
        argv = (wish.entrypoint, *wish.arguments)
    if not argv or not argv[0]:
        raise ConfigError(
            f"{wish.image} names nothing to start",
            hint=f"name a command: podbuild run {wish.image} sh",
        )
    env = dict(_variables(wish.variables, services.environment))
    terminal = at_terminal()
    if terminal and "TERM" in services.environment:
        env.setdefault("TERM", services.environment["TERM"])
    return {
        "processes": [process(config, argv, env=env, user=wish.user)],
        "network": wish.network,
        "terminal": terminal,
    }


def _variables(given: Iterable[str], environment: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Read NAME=VALUE, or NAME for the value that it has here."""
    for text in given:
        name, equals, value = text.partition("=")
        try:
            VARIABLE.parse(name, Path())
        except Invalid as wrong:
            raise ConfigError(f"--env {text!r}: {wrong.message}", hint="NAME=VALUE") from None
        if equals or name in environment:
            yield name, value if equals else environment[name]


def _files(wish: Wish) -> Iterable[tuple[str, str]]:
    """Give what names and addresses are looked up in."""
    yield "/etc/hostname", "image\n"
    if wish.network == "none":
        yield "/etc/hosts", "127.0.0.1 localhost image\n::1 localhost\n"
        return
    for name in _FILES:
        with suppress(OSError, UnicodeDecodeError):
            yield name, Path(name).read_text(encoding="utf-8")


def _platform(image: PlannedImage, asked: Platform | None) -> Platform:
    """Give the platform asked for, else this machine's, else the only one."""
    native = Platform("linux", native_architecture())
    wanted = asked or (native if native in image.platforms else image.platforms[0])
    if wanted not in image.platforms or (
        asked is None and wanted != native and len(image.platforms) > 1
    ):
        known = ", ".join(map(str, image.platforms))
        what = f"{image.name} is not made for {asked or native}"
        raise ConfigError(what, hint=f"--platform, one of: {known}")
    return wanted
