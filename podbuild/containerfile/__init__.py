"""Read Containerfiles: stages, what they start from and copy from, what they fetch.

`read_containerfile(text)` gives a `Containerfile`; everything else is asked of that.
"""

from podbuild.containerfile.lines import Heredoc, Instruction
from podbuild.containerfile.read import read_containerfile
from podbuild.containerfile.stages import (
    SCRATCH,
    Containerfile,
    Reference,
    Stage,
    Use,
    platform_arguments,
)
from podbuild.containerfile.words import open_quote

__all__ = [
    "SCRATCH",
    "Containerfile",
    "Heredoc",
    "Instruction",
    "Reference",
    "Stage",
    "Use",
    "open_quote",
    "platform_arguments",
    "read_containerfile",
]
