"""Which login belongs to which repository.

The order: this registry's own variables, those of Docker Hub and GHCR for their own hosts, then
the files and helpers that podman, buildah and docker use (containers/image's order).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field

from podbuild.errors import CredentialError
from podbuild.oci import kinds
from podbuild.oci.auth.files import (
    AuthFile,
    Credential,
    CredentialKind,
    ask_helper,
    find_auth_files,
)
from podbuild.oci.names import Repository
from podbuild.system.later import dataclass
from podbuild.system.process import Runner
from podbuild.system.records import JSONValue


def token_variables(registry: str) -> tuple[str, str]:
    """Give the environment variables that hold a registry's login: user name and token.

    >>> token_variables("my-hub")
    ('PODBUILD_MY_HUB_USERNAME', 'PODBUILD_MY_HUB_TOKEN')
    """
    stem = re.sub(r"[^A-Z0-9]", "_", registry.upper())
    return f"PODBUILD_{stem}_USERNAME", f"PODBUILD_{stem}_TOKEN"


AUTH_FILES = "containers-auth.json"


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """Finds logins in this environment, and with this runner's helper programs.

    `on_secret` hears every secret that is found, so that no log shows it. `helpers` are asked in
    their order (credential-helpers of registries.conf), the files where AUTH_FILES stands.
    """

    environment: Mapping[str, str] = field(repr=False)
    runner: Runner = field(repr=False)
    on_secret: Callable[[str], None] = field(default=lambda _secret: None, repr=False)
    helpers: Callable[[], tuple[str, ...]] = lambda: (AUTH_FILES,)
    _kept: dict[tuple[str, str], Credential | None] = field(default_factory=dict, repr=False)

    def find(self, repository: Repository, registry: str = "") -> Credential | None:
        """Give the login for a repository of the registry configured under that name.

        None means that nobody is logged in. Raises CredentialError for a variable that is set
        but empty or lacks its partner, and for files and helpers that can't be read.
        """
        from_variables = self.find_token(repository.host, registry)
        if from_variables:
            return from_variables
        found = self._from_files(repository)
        empty = self._empty_variable(repository.host, registry)
        if found is None and empty:
            raise CredentialError(
                f"{empty} is set but empty, and {repository.host} has no other login here",
                hint="give the secret to this CI job (jobs for pull requests from forks get none), "
                f"or run: podman login {repository.host}",
            )
        return found

    def find_token(self, host: str, registry: str = "") -> Credential | None:
        """Give the login that the environment's variables hold for a host, an API's included."""
        for user_name, token_name, default in _variables(host, registry):
            token = self.environment.get(token_name, "").strip()
            user = self.environment.get(user_name, "").strip() or default
            if token and not user:
                raise CredentialError(
                    f"{token_name} is set, but {user_name} is not", hint=f"set {user_name} too"
                )
            if user and not token and token_name in self.environment and user != default:
                raise CredentialError(
                    f"{token_name} is set but empty",
                    hint="the secret is not given to this job "
                    "(jobs for pull requests from forks get none)",
                )
            if token:
                self.on_secret(token)
                return Credential(username=user, secret=token, source=token_name)
        return None

    def entries(
        self, repositories: Iterable[Repository], names: Mapping[str, str] | None = None
    ) -> Mapping[str, JSONValue]:
        """Give an auth file's content with the logins of these repositories, for an engine.

        `names` gives, by host, the section of the configuration whose variables hold for it. A
        helper program stays a helper program. Nothing else of the user's files is in it.
        """
        auths: dict[str, JSONValue] = {}
        helpers: dict[str, JSONValue] = {}
        for repository in sorted(set(repositories)):
            variables = self.find_token(repository.host, (names or {}).get(repository.host, ""))
            helper = "" if variables else self._helper(repository.host)
            found = variables or (None if helper else self._from_files(repository))
            if helper:
                helpers[repository.host] = helper
            elif found:
                auths[str(repository)] = _entry(found)
        return {"auths": auths, **({"credHelpers": helpers} if helpers else {})}

    def _empty_variable(self, host: str, registry: str) -> str:
        for _user, token, _default in _variables(host, registry):
            if token in self.environment and not self.environment[token].strip():
                return token
        return ""

    def _from_files(self, repository: Repository) -> Credential | None:
        """Ask helpers and files; one that fails counts only where no other has a login."""
        failed: CredentialError | None = None
        for found in self._places():
            try:
                credential = (
                    self._ask(found, repository.host)
                    if isinstance(found, str)
                    else self._from_file(found, repository)
                )
            except CredentialError as error:
                failed = failed or error
                if isinstance(found, str):
                    continue
                raise
            if credential:
                self.on_secret(credential.secret)
                return credential
        if failed:
            raise failed
        return None

    def _places(self) -> Iterator[str | AuthFile]:
        for helper in self.helpers():
            if helper == AUTH_FILES:
                yield from find_auth_files(self.environment)
            else:
                yield helper

    def _from_file(self, file: AuthFile, repository: Repository) -> Credential | None:
        if helper := file.helper_for(repository.host):
            return self._ask(helper, repository.host)
        if found := file.find(repository):
            return found
        return self._ask(file.default_helper, repository.host) if file.default_helper else None

    def _ask(self, helper: str, host: str) -> Credential | None:
        """Ask a helper program once per host: some take a second."""
        if (helper, host) not in self._kept:
            self._kept[helper, host] = ask_helper(self.runner, helper, host)
        return self._kept[helper, host]

    def _helper(self, host: str) -> str:
        """Give the helper that would be asked first; a login in an earlier file wins over it."""
        for found in self._places():
            if isinstance(found, str):
                with suppress(CredentialError):
                    if self._ask(found, host):
                        return found
                continue
            if name := found.helper_for(host):
                return name
            if found.find(Repository(host, "any")):
                return ""
            if found.default_helper and self._ask(found.default_helper, host):
                return found.default_helper
        return ""


def _variables(host: str, registry: str) -> tuple[tuple[str, str, str], ...]:
    """Give the names (user, token, user where none is set) that count for a host, in order.

    GITHUB_TOKEN goes to GitHub's hosts alone and DOCKERHUB_TOKEN to Docker Hub's, whatever a
    registry is called and whatever its kind.
    """
    home = kinds.home_of(host)
    own = ((*token_variables(registry), home.any_user if home else ""),) if registry else ()
    return (*own, (home.user, home.token, home.any_user)) if home else own


def _entry(found: Credential) -> JSONValue:
    if found.kind is CredentialKind.IDENTITY_TOKEN:
        return {"auth": Credential(username=found.username, secret="", source="").basic,
                "identitytoken": found.secret}  # fmt: skip
    return {"auth": found.basic}
