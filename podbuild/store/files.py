"""Files that stand under their name as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from podbuild.model import Descriptor
from podbuild.store import BlobSource
from podbuild.store.blobs import checked


def linked(source: BlobSource, target: Path, blob: Descriptor) -> bool:
    """Link a source's file, checked, under the blob's name; False where that can't be."""
    file = source.path
    if file is None or file.is_symlink() or not file.is_file():
        return False
    for _ in checked(blob, source.chunks(), str(file)):
        pass  # reading to the end is the check
    part = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        os.link(file, part)
    except OSError:
        return False
    try:
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # a rename onto the same file leaves both names
    return True


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
