"""Layers for tests, as tars in memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def tar(files: Mapping[str, str | bytes | None]) -> bytes:
    """Give a tar: None is a folder, text that begins with `-> ` a symlink, `= ` a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            data = b""
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str) and content.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, content[3:]
            elif isinstance(content, str) and content.startswith("= "):
                info.type, info.linkname = tarfile.LNKTYPE, content[2:]
            else:
                data = content.encode() if isinstance(content, str) else content
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
