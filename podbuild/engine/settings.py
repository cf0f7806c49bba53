"""The user's own configuration files, as text."""

from __future__ import annotations

from pathlib import Path

from podbuild.errors import ConfigError


def read_setting(file: Path) -> str:
    """Give a file's text; raises ConfigError naming one that can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except OSError as error:
        reason = error.strerror or str(error)
    raise ConfigError(f"{file}: can't be read: {reason}", hint="correct the file, or move it away")
