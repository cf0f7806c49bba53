"""What a command works with: configuration, user interface, folders, how to stop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from podbuild.build.engine import registries_files
from podbuild.cli.asking import read_duration, read_request
from podbuild.cli.options import Common, Typed
from podbuild.commands import borders
from podbuild.config import load
from podbuild.errors import ConfigError, CredentialError
from podbuild.oci import kinds
from podbuild.oci import registries as connections
from podbuild.oci.auth import credentials, files
from podbuild.oci.transport import endpoint
from podbuild.system import cancel as cancelling
from podbuild.system import console, locks, process, redact
from podbuild.system import folders as places
from podbuild.system import retry as retrying
from podbuild.system.later import dataclass

if TYPE_CHECKING:
    from podbuild.config.model import Config
    from podbuild.oci.registries import Registries
    from podbuild.plan.model import Request
    from podbuild.system.console import Ui
    from podbuild.system.folders import Folders
    from podbuild.system.retry import Retry
    from podbuild.workspace import Services


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
        return registries_files.user_registries_conf(self.environment).helpers or (
            credentials.AUTH_FILES,
        )

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
