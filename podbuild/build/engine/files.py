"""The engine's generated configuration, in the run's own folder.

Nothing of the user's own configuration is changed; what it says about registries, policies and
logins is kept. Formats: containers-storage.conf(5), containers.conf(5),
containers-policy.json(5), containers-auth.json(5).

The environment that an engine runs in: an allow-list of the user's, and podbuild's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from podbuild.build.engine.containers_conf import NOTHING, UserContainers, lines
from podbuild.build.engine.registries_conf import RegistriesConf, render
from podbuild.build.engine.registries_files import read_setting
from podbuild.build.engine.storage import Storage
from podbuild.build.toolchain.model import Toolchain
from podbuild.errors import ConfigError
from podbuild.system.records import JSONValue

_PERMISSIVE = '{"default": [{"type": "insecureAcceptAnything"}]}\n'


@dataclass(frozen=True, kw_only=True)
class EngineFiles:
    """The generated files that all jobs of a run share, in a folder of mode 0700.

    Paths are those that engines see; `here` gives where this process finds them.
    """

    folder: Path
    root: Path = Path("/")  # of the engines' file system

    def here(self, path: Path) -> Path:
        """Give a path of the engines' as this process reaches it."""
        return self.root / path.relative_to("/")

    @property
    def registries(self) -> Path:
        """Give registries.conf."""
        return self.folder / "registries.conf"

    @property
    def policy(self) -> Path:
        """Give policy.json, where podman looks for it too when HOME is `home`."""
        return self.home / ".config" / "containers" / "policy.json"

    @property
    def auth(self) -> Path:
        """Give auth.json, where commands without --authfile look for it too."""
        return self.runtime / "containers" / "auth.json"

    @property
    def containers(self) -> Path:
        """Give containers.conf."""
        return self.folder / "containers.conf"

    @property
    def certificates(self) -> Path:
        """Give the folder with the CAs that the configuration names."""
        return self.folder / "certs"

    @property
    def runtime(self) -> Path:
        """Give XDG_RUNTIME_DIR."""
        return self.folder / "xdg"

    @property
    def home(self) -> Path:
        """Give a HOME for commands that must find nothing of the user's."""
        return self.folder / "home"

    def storage(self, name: str) -> Path:
        """Give the storage.conf of one storage."""
        return self.folder / f"storage-{name}.conf"

    def override(self, name: str) -> Path:
        """Give what of containers.conf belongs to one storage."""
        return self.folder / f"containers-{name}.conf"


def write_files(
    files: EngineFiles,
    *,
    registries: RegistriesConf,
    policy: str | None,
    auth: Mapping[str, JSONValue],
    toolchain: Toolchain,
    user: UserContainers = NOTHING,
) -> None:
    """Write all that the jobs of a run share. `policy` and `user` are the user's own settings."""
    for folder in (files.folder, files.runtime, files.auth.parent, files.home):
        files.here(folder).mkdir(mode=0o700, exist_ok=True)
    files.here(files.policy.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
    # Helpers are asked by podbuild: the engine finds its logins in this auth file alone.
    files.here(files.registries).write_text(render(replace(registries, helpers=None)))
    files.here(files.policy).write_text(policy or _PERMISSIVE)
    settings = "\n".join(_containers_conf(toolchain, files, user)) + "\n"
    files.here(files.containers).write_text(settings)
    write_private(files.here(files.auth), json.dumps(auth))


def write_certificates(files: EngineFiles, authorities: Iterable[Path]) -> None:
    """Put CAs where engines look for them (containers-certs.d(5)).

    Raises ConfigError for a file that can't be read.
    """
    folder = files.here(files.certificates)
    folder.mkdir(mode=0o700)
    for number, authority in enumerate(authorities):
        try:
            (folder / f"{number}.crt").write_bytes(authority.read_bytes())
        except OSError as error:
            raise ConfigError(f"can't read the CA {authority}: {error.strerror}") from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, at any moment."""
    with open(path, "w", opener=_private_opener) as file:  # needs its mode at once
        file.write(text)


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def write_storage(files: EngineFiles, name: str, storage: Storage) -> None:
    """Write what makes an engine use one storage.

    podman keeps its temporary folder's name in the storage's database, so it must last too.
    """
    files.here(files.storage(name)).write_text(storage_conf(storage))
    temporary = storage.run.with_name("libpod")
    files.here(files.override(name)).write_text(f"[engine]\ntmp_dir = {_quoted(temporary)}\n")


def storage_conf(storage: Storage) -> str:
    """Give a storage.conf with everything explicit."""
    lines = [
        "[storage]",
        f'driver = "{storage.driver.name}"',
        f"graphroot = {_quoted(storage.graph)}",
        f"runroot = {_quoted(storage.run)}",
    ]
    if storage.driver.mount_program:
        lines += [
            "[storage.options.overlay]",
            f"mount_program = {_quoted(storage.driver.mount_program)}",
        ]
    return "\n".join(lines) + "\n"


def user_policy(environment: Mapping[str, str], system: Path = Path("/etc")) -> str | None:
    """Give the text of the user's policy.json, or of the machine's; None where there is none.

    Raises ConfigError for one that can't be read.
    """
    home = Path(environment.get("HOME") or "/nonexistent")
    for path in (
        home / ".config" / "containers" / "policy.json",
        system / "containers" / "policy.json",
    ):
        if path.is_file():
            return read_setting(path)
    return None


def _containers_conf(
    toolchain: Toolchain, files: EngineFiles, user: UserContainers
) -> Iterator[str]:
    yield "[engine]"
    yield 'cgroup_manager = "cgroupfs"'
    yield 'events_logger = "none"'
    yield 'lock_type = "file"'  # the other kind is shared with the user's own podman
    yield from lines(toolchain, user)
    yield "[network]"
    yield f"network_config_dir = {_quoted(files.folder / 'networks')}"
    if toolchain.firewall_driver:
        yield f"firewall_driver = {json.dumps(toolchain.firewall_driver)}"


def _quoted(path: Path) -> str:
    return json.dumps(str(path))


_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")

ALLOWED = frozenset(
    {
        "HOME",
        "LANG",
        "LC_ALL",
        "LOGNAME",
        "SSH_AUTH_SOCK",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "USER",
        "XDG_CONFIG_HOME",
        *_PROXIES,
        *(name.upper() for name in _PROXIES),
    }
)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def proxies_with_login(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Give the proxy variables whose URLs hold a login, which is for engines and not for RUN.

    >>> proxies_with_login({"https_proxy": "http://me:secret@proxy:3128", "NO_PROXY": "localhost"})
    ('https_proxy',)
    """
    names = {*_PROXIES, *(name.upper() for name in _PROXIES)}
    return tuple(sorted(name for name in names if "@" in environment.get(name, "")))


def engine_environment(
    user: Mapping[str, str], toolchain: Toolchain, files: EngineFiles
) -> Mapping[str, str]:
    """Give what every engine process of a run gets; a storage and a job add their own.

    A HOME that does not exist is replaced by an empty one, which engines need; where it has no
    folder for configuration, they would make one there.
    """
    found = {name: value for name, value in user.items() if name in ALLOWED}
    if not os.path.isdir(found.get("HOME", "")):  # noqa: PTH112  # an empty text is no folder
        found["HOME"] = str(files.home)
    if not (found.get("XDG_CONFIG_HOME") or Path(found["HOME"], ".config").is_dir()):
        found["XDG_CONFIG_HOME"] = str(files.home / ".config")
    folders = (*map(str, toolchain.path), user.get("PATH") or _PATH)
    return found | {
        "PATH": os.pathsep.join(folders),
        "XDG_RUNTIME_DIR": str(files.runtime),
        "REGISTRY_AUTH_FILE": str(files.auth),
        "CONTAINERS_CONF": str(files.containers),
        "CONTAINERS_REGISTRIES_CONF": str(files.registries),
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
    }


def storage_environment(files: EngineFiles, storage: str, data: Path) -> Mapping[str, str]:
    """Give what makes an engine use one storage; `data` holds its record of known blobs."""
    return {
        "CONTAINERS_STORAGE_CONF": str(files.storage(storage)),
        "CONTAINERS_CONF_OVERRIDE": str(files.override(storage)),
        "XDG_DATA_HOME": str(data),
    }
