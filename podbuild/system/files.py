"""Files that are replaced as a whole, and stay so after a power cut."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from podbuild.errors import BuildError, ConfigError, PodbuildError

_LARGEST = 64 << 20  # bytes of what is read as a whole
_PART = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part")  # `_instead_of` names them so


def read_plain(path: Path, most: int = _LARGEST) -> bytes:
    """Give a file's bytes; raises OSError for one that is longer, and for what is no plain file.

    Whoever opens a pipe waits for its writer, whatever signals say; a device may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 10} KiB")
    return data


def file_digest(path: Path) -> str:
    """Give a file's sha256 in hex; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file, its folder made if need be, so that a power cut leaves the old or the new.

    Raises BuildError when no space is left, ConfigError for other failures.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _instead_of(path) as part:
            _write_synced(part, data, mode)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    with _made(path, mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(target: Path, pieces: Iterable[bytes], *, lasting: bool = True) -> None:
    """Write a file that all may read, as a whole or not at all.

    Where it need not be `lasting`, a power cut may leave it damaged, and it costs no wait.
    """
    with _instead_of(target) as part, _made(part, 0o644) as file:
        file.writelines(pieces)
        os.fchmod(file.fileno(), 0o644)
        file.flush()
        if lasting:
            os.fsync(file.fileno())


def link_whole(source: Path, target: Path) -> None:
    """Put a link to a file in the target's place; raises OSError where that can't be."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        with _instead_of(target) as part:
            os.link(source, part, follow_symlinks=False)


def move(source: Path, target: Path) -> None:
    """Put a file or folder where there may be another file, or an empty folder; at once."""
    source.replace(target)


def whole_name(name: str) -> str:
    """Give the name that a file is to have which is not written to its end."""
    found = _PART.fullmatch(name)
    return found[1] if found else name


@contextmanager
def _instead_of(target: Path) -> Iterator[Path]:
    """Give a new name beside a file; what stands there when the block ends well takes its place."""
    part = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    try:
        yield part
        part.replace(target)
    finally:  # a rename onto the same file leaves both names
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _made(path: Path, mode: int) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, mode), "wb")


def open_in_place(path: Path, flags: int = os.O_TRUNC) -> int:
    """Open a file to write it where it is, made if need be; a link is not followed."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o644)


def _sync_folder(path: Path) -> None:
    """Make a rename last; some network file systems can't be asked, and need not be."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> PodbuildError:
    """Give what is raised for a file of the output folder that can't be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BuildError(f"{path}: no space left", hint="make room, then run the same command")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        for above in filter(Path.is_file, path.parents):
            hint = "move it away, or name another with [project] output"
            return ConfigError(f"{above}: is a file, no folder", hint=hint)
    return ConfigError(
        f"{path}: can't be written: {error.strerror or error}",
        hint="make the folder writable, or name another with [project] output",
    )
