"""The environment that an engine runs in: an allow-list of the user's, and podbuild's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from podbuild.engine.files import EngineFiles
from podbuild.toolchain.model import Toolchain

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
