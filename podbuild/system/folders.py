"""Where podbuild may write: XDG, else HOME, else `dist/.podbuild` (design, "Folders")."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from podbuild.errors import ConfigError
from podbuild.system.later import dataclass


@dataclass(frozen=True, kw_only=True)
class Folders:
    """podbuild's own folders; each exists, is writable and has mode 0700."""

    cache: Path  # blobs, layer caches, engine storage; may be deleted at any time
    state: Path  # the private toolchain, locks
    runtime: Path  # where runs are told apart; in memory, each run mounts what it keeps there

    def of_project(self, kind: str, root: Path) -> Path:
        """Give where podbuild keeps something of the project in a folder, named after that."""
        return self.state / kind / _digest(root.resolve())[:32]


def project_id(root: Path) -> str:
    """Give a short name of the project in a folder, by which this user's caches part projects."""
    return _digest(root)[:16]


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()


def without_closed_homes(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment without a HOME or XDG_CONFIG_HOME that this user can't enter.

    `sudo -u` and containers keep root's; what is in there is not this user's. One that does not
    exist stays: it says that there is no configuration.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in ("HOME", "XDG_CONFIG_HOME") or _is_open(value)
    }


def _is_open(folder: str) -> bool:
    try:
        os.stat(f"{folder}/.")  # noqa: PTH116  # a Path would drop the dot, which asks to enter
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True


def find_folders(environment: Mapping[str, str], output: Path) -> Folders:
    """Give the folders for this environment; `output` is the project's `dist`.

    Raises ConfigError when nothing at all is writable.
    """
    home = environment.get("HOME", "")
    if not Path(home).is_dir():  # a home that is missing is not made
        home = ""
    cache = _first_writable(
        _under(environment.get("XDG_CACHE_HOME"), "podbuild"),
        _under(home, ".cache/podbuild"),
        output / ".podbuild" / "cache",
    )
    state = _first_writable(
        _under(environment.get("XDG_STATE_HOME"), "podbuild"),
        _under(home, ".local/state/podbuild"),
        output / ".podbuild" / "state",
    )
    runtime = _first_writable(
        _under(environment.get("XDG_RUNTIME_DIR"), "podbuild"),
        cache / "runtime",
    )
    return Folders(cache=cache, state=state, runtime=runtime)


def shared_runtimes() -> tuple[Path, ...]:
    """Give this user's folders in places that all users share; `usable` checks whose they are.

    Never below /dev: engines have one of their own, which RUN steps see.
    """
    return (Path("/tmp", f"podbuild-{os.getuid()}"),)  # noqa: S108


def _under(root: str | None, name: str) -> Path | None:
    """XDG says that a relative path must be ignored; so is an empty one."""
    return Path(root) / name if root and Path(root).is_absolute() else None


def _can_be_named(folder: Path) -> bool:
    """Tell whether engines can take the path: they read PATH and mount options with colons."""
    return not {":", "\n"} & set(os.path.realpath(folder))


def _first_writable(*candidates: Path | None) -> Path:
    tried = []
    for folder in candidates:
        if folder is None:
            continue
        tried.append(str(folder))
        if _can_be_named(folder) and usable(folder):
            return folder.resolve()
    raise ConfigError(
        f"no writable folder for podbuild's own files (tried {', '.join(tried)})",
        hint="make one of them writable, or set HOME to a writable folder without a colon",
    )


def usable(folder: Path) -> bool:
    """Make the folder private to this user; another user's folder, or link, is not used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
        if {facts.st_uid, folder.lstat().st_uid} != {os.geteuid()}:
            return False
        if facts.st_mode & 0o077:
            folder.chmod(0o700)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread may have asked at the same time
    except OSError:
        return False
    return True
