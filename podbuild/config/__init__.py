"""podbuild.toml -> frozen types."""

from podbuild.config.choices import (
    Compression,
    Format,
    IndexPolicy,
    Isolation,
    Network,
    Pull,
    RegistryKind,
    Timestamp,
)
from podbuild.config.image import Image
from podbuild.config.load import FILE_NAME, find_config, load_config, parse_config
from podbuild.config.model import (
    CacheSettings,
    Config,
    Project,
    PruneRule,
    Registry,
    Retention,
    TagRules,
    unknown_name,
)
from podbuild.config.reading import read_source, shown
from podbuild.config.sources import (
    Context,
    FolderContext,
    ImageContext,
    ImageTags,
    ReferenceContext,
    Secret,
)

__all__ = [
    "FILE_NAME",
    "CacheSettings",
    "Compression",
    "Config",
    "Context",
    "FolderContext",
    "Format",
    "Image",
    "ImageContext",
    "ImageTags",
    "IndexPolicy",
    "Isolation",
    "Network",
    "Project",
    "PruneRule",
    "Pull",
    "ReferenceContext",
    "Registry",
    "RegistryKind",
    "Retention",
    "Secret",
    "TagRules",
    "Timestamp",
    "find_config",
    "load_config",
    "parse_config",
    "read_source",
    "shown",
    "unknown_name",
]
