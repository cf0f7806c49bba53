"""Read Containerfiles: stages, what they start from and copy from, what they fetch.

`read_containerfile(text)` gives a `Containerfile`; everything else is asked of that.
"""

from podbuild.containerfile.read import read_containerfile
from podbuild.containerfile.stages import (
    SCRATCH,
    Containerfile,
    Reference,
    Use,
    platform_arguments,
)
from podbuild.containerfile.words import open_quote

__all__ = [
    "SCRATCH",
    "Containerfile",
    "Reference",
    "Use",
    "open_quote",
    "platform_arguments",
    "read_containerfile",
]
