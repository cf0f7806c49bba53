"""What a command works with: what is typed, configuration, user interface, how to stop."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podbuild.build import engine, parcel
from podbuild.cli.options import Common, Typed
from podbuild.commands import borders
from podbuild.config import image, load
from podbuild.errors import ConfigError, CredentialError
from podbuild.oci import kinds, names
from podbuild.oci import registries as connections
from podbuild.oci.auth import credentials, files
from podbuild.oci.transport import endpoint
from podbuild.plan import model
from podbuild.system import cancel as cancelling
from podbuild.system import console, locks, process, redact
from podbuild.system import folders as places
from podbuild.system import retry as retrying
from podbuild.system.later import dataclass

if TYPE_CHECKING:
    from podbuild.build.engine.registries_conf import RegistriesConf
    from podbuild.config.model import Config
    from podbuild.oci.names import Platform, Reference
    from podbuild.oci.registries import Registries
    from podbuild.plan.model import Request
    from podbuild.system.console import Ui
    from podbuild.system.folders import Folders
    from podbuild.system.retry import Retry
    from podbuild.workspace import Services

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_request(typed: Mapping[str, Any], directory: Path, **told: bool) -> model.Request:
    """Give the request that options make: each has the name of its field.

    What the command itself is `told` goes with them. Raises ConfigError for what can't be read.
    """
    given = {"images": (), **typed, **told, "command": shlex.join(["podbuild", *sys.argv[1:]])}
    given["images"] = (*given["images"], *given.pop("more", ()))  # [IMAGE]... and --image
    readers: Mapping[str, Callable[[Any], object]] = {
        "platforms": read_platforms,
        "build_args": read_build_args,
        "secrets": lambda texts: tuple(read_secret(each, directory) for each in texts),
        "handed_over": lambda texts: _read_places(texts, directory) if texts else (),
        "skip": read_parts,
        "branch": lambda text: text or "",
        "pr": lambda number: str(number or ""),
    }
    read = {name: readers[name](value) for name, value in given.items() if name in readers}
    return model.Request(**{**given, **read})


def read_platforms(given: Iterable[str]) -> tuple[Platform, ...]:
    """Read platforms, each option one or several with commas; each once."""
    texts = (each for text in given for each in text.split(","))
    return tuple(dict.fromkeys(map(names.Platform.parse, texts)))


def read_parts(text: str | None) -> frozenset[model.Skip]:
    """Read the comma list of --skip.

    >>> sorted(read_parts("verify,cleanup"))
    [<Skip.CLEANUP: 'cleanup'>, <Skip.VERIFY: 'verify'>]
    """
    parts = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in parts:
        if name not in set(model.Skip):
            known = ", ".join(model.Skip)
            raise ConfigError(f"--skip {name}: no such step", hint=f"known: {known}")
    return frozenset(map(model.Skip, parts))


def _read_places(texts: tuple[str, ...], directory: Path) -> tuple[Path | Reference, ...]:
    return tuple(parcel.read_place(each) or directory / each for each in texts)


def read_hand_over(text: str | None) -> Reference | None:
    """Read where a leg leaves what its join needs; None for nowhere. Raises ConfigError."""
    place = parcel.read_place(text) if text else None
    if text and place is None:
        raise ConfigError(
            f"--hand-over {text}: no registry's reference",
            hint="write it as oci:REPO:TAG; in dist/ it is handed over anyway, see --thin",
        )
    return place


def read_build_args(given: Iterable[str]) -> Mapping[str, str]:
    """Read NAME=VALUE options.

    >>> read_build_args(["A=1", "B=x=y"])
    {'A': '1', 'B': 'x=y'}
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            lacks = "value" if name else "name"
            raise ConfigError(f"--build-arg {text!r} has no {lacks}", hint="write it as NAME=VALUE")
        found[name] = value
    return found


def read_secret(text: str, directory: Path) -> image.Secret:
    """Read id=ID,env=NAME or id=ID,src=FILE, as buildah and docker take it.

    >>> read_secret("id=npm,env=NPM_TOKEN", Path())
    Secret(id='npm', env='NPM_TOKEN', file=None)
    """
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    parts.pop("type", None)
    file = parts.pop("src", "") or parts.pop("source", "")
    identity, env = parts.pop("id", ""), parts.pop("env", "")
    if parts or not identity or bool(env) == bool(file):
        raise ConfigError(
            f"--secret {text!r} can't be read", hint="write id=ID,env=NAME or id=ID,src=FILE"
        )
    return image.Secret(id=identity, env=env or None, file=directory / file if file else None)


def read_image(text: str) -> tuple[str, str]:
    """Read IMAGE or IMAGE:TAG; without a colon the tag is empty.

    Raises VersionError for no valid tag: an empty one is `web:$TAG` of a variable that is not set.

    >>> read_image("web"), read_image("web:1.2.3")
    (('web', ''), ('web', '1.2.3'))
    """
    name, colon, tag = text.partition(":")
    return name, names.Tag(tag).text if colon else ""


def read_duration(text: str | None) -> float | None:
    """Read a duration such as 45m, in seconds; None for none.

    >>> read_duration("1.5h")
    5400.0
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if unit.isdigit():
        number, unit = text, "s"
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{text!r} is no duration", hint="such as 90s, 45m or 2h")
    return seconds


RETRIES = 300  # of one command in all, before it gives up
_chosen: list[Ui] = []  # the interface of the command that runs, for `main`


def current_ui() -> Ui:
    """Give the interface of the running command, or a plain one before there is one."""
    return _chosen[-1] if _chosen else make_ui(Common(), os.environ)


def make_ui(common: Common, environment: Mapping[str, str]) -> Ui:
    """Choose the interface for this terminal or CI; secrets of the environment are cut."""
    if common.quiet and common.verbose:
        raise ConfigError("--quiet and --verbose exclude each other", hint="pass one of them")
    verbosity = console.Verbosity.NORMAL
    if common.quiet:
        verbosity = console.Verbosity.QUIET
    elif common.verbose:
        verbosity = console.Verbosity.VERBOSE
    redactor = redact.Redactor()
    for name, value in environment.items():
        if redact.holds_secret(name):
            redactor.add(value)
        for login in redact.logins_in(value):  # of proxies, mirrors, databases
            redactor.add(login)
    ui = console.choose_ui(
        environment,
        redactor=redactor,
        verbosity=verbosity,
        answers=console.Answers.JSON if common.json else console.Answers.TEXT,
        progress=common.progress,
    )
    _chosen.append(ui)
    return ui


@dataclass(frozen=True, kw_only=True)
class Session:
    """The collaborators of one command."""

    ui: Ui
    environment: Mapping[str, str]
    directory: Path  # where the command works
    file: Path | None
    cancel: cancelling.Cancel
    runner: process.Runner
    allowed: tuple[Path, ...] = ()  # where a configuration may lead, outside of its work tree

    def request(self, typed: Typed, **told: bool) -> Request:
        """Give what is asked for; raises ConfigError for what can't be read."""
        return read_request(typed, self.directory, **told)

    def folders(self, output: Path) -> Folders:
        """Give podbuild's own folders, made if need be."""
        return places.find_folders(self.environment, output)

    def config(self) -> Config:
        """Give the configuration; raises ConfigError with file, line and key.

        It leads to nothing outside but what the command line allows.
        """
        path = self.file or load.find_config(self.directory)
        if self.file is None:
            borders.Borders.around(path.parent, self.allowed).check(path)
        config = load.load_config(path, self.environment, self._logins)
        borders.refuse_outside(config, self.allowed)
        return config

    def _logins(self) -> Iterator[str]:
        """Give the secrets in files of logins, as far as they can be read; no helper is asked."""
        with suppress(CredentialError):  # said where the login is needed
            for file in files.find_auth_files(self.environment):
                yield from file.secrets()

    def _credential_helpers(self) -> tuple[str, ...]:
        """Give what the user's registries.conf asks for logins; read when one is needed."""
        user: RegistriesConf = engine.registries_files.user_registries_conf(self.environment)
        return user.helpers or (credentials.AUTH_FILES,)

    def services(self) -> Services:
        """Give what the recipes work with; the configuration is read here."""
        from podbuild.workspace import Opener, Services  # noqa: PLC0415  # not for --help

        config = self.config()
        folders = self.folders(config.output)
        for place in (folders.runtime, folders.cache):  # logins of a killed run, first of all
            locks.sweep(place / "runs")
        runner = self.runner.extended(cwd=config.root)
        retry = retrying.Retry(sleep=self.cancel.sleep, budget=retrying.Budget(RETRIES))
        return Services(
            config=config,
            environment=self.environment,
            ui=self.ui,
            runner=runner,
            cancel=self.cancel,
            folders=folders,
            opener=Opener(root=config.root, registries=self._registries(runner, retry)),
            retry=retry,
        )

    def _registries(self, runner: process.Runner, retry: Retry) -> Registries:
        """Give what talks to registries, with the logins of this environment."""
        heard = self.ui.redactor.add
        return connections.Registries(
            keyring=credentials.Keyring(
                environment=self.environment,
                runner=runner,
                on_secret=heard,
                helpers=cache(self._credential_helpers),
            ),
            conduct=endpoint.Conduct(
                retry=retry, cancel=self.cancel, observe=self.ui.info, on_secret=heard
            ),
            network=endpoint.WayOut.from_environment(self.environment),
        )


@contextmanager
def open_session(common: Common, timeout: str | None = None) -> Iterator[Session]:
    """Give the session of a command; while it is open, one signal stops all work.

    `timeout` is a duration such as 45m. A second signal leaves at once: children are killed,
    engines end with their namespace, and the journal is always as of the last step.
    """
    environment = places.without_closed_homes(os.environ)
    ui = make_ui(common, environment)
    try:
        directory = (common.directory or Path()).absolute()
    except FileNotFoundError:
        raise ConfigError(
            "the present folder does not exist any more", hint="go to the project's folder"
        ) from None
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such folder", hint="-C names an existing folder")
    cancel = cancelling.Cancel(read_duration(timeout))
    runner = process.Runner(env=tool_environment(environment), cwd=directory, cancel=cancel)
    with cancelling.stopping(cancel, ui):
        yield Session(
            ui=ui,
            environment=environment,
            directory=directory,
            file=None if common.file is None else directory / common.file,
            cancel=cancel,
            runner=runner,
            allowed=tuple(directory / each for each in common.allow_outside),
        )


def tool_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment for git and apt: the user's own, in plain English, no registry tokens.

    Engines get less: an allow-list (see `engine`).
    """
    tokens = {home.token for home in kinds.HOMES.values()}
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("PODBUILD_") and name not in tokens
    }
    return {**kept, "LC_ALL": "C.UTF-8"}
