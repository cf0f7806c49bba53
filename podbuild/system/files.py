"""Files that are replaced as a whole, and stay so after a power cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from podbuild.errors import BuildError, ConfigError, PodbuildError


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file: readers see the old or the new content, also after a power cut.

    Raises BuildError when no space is left, ConfigError for other failures.
    """
    part = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(part, data, mode)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
    return ConfigError(
        f"{path}: can't be written: {error.strerror or error}",
        hint="make the folder writable, or name another with [project] output",
    )


def write_whole(target: Path, pieces: Iterator[bytes] | list[bytes]) -> None:
    """Write a file as a whole or not at all."""
    with _part(target) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        os.chmod(file.fileno(), 0o644)  # noqa: PTH101  # the open file, not a name
        Path(file.name).replace(target)


@contextmanager
def _part(target: Path) -> Iterator[IO[bytes]]:
    with NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
    ) as file:
        try:
            yield file
        finally:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()
