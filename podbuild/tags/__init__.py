"""Which tags a release or a branch writes, and whether each of them may move. Pure."""

from podbuild.tags.guards import (
    Ancestry,
    Decision,
    Located,
    Published,
    RemoteTag,
    Result,
    Verdict,
    branch_guard,
    immutable_guard,
    rollback_target,
    sha_guard,
    version_guard,
)
from podbuild.tags.names import (
    NamedTag,
    Range,
    Reader,
    TagKind,
    branch_tags,
    kind_of,
    owned_versions,
    release_tags,
    written_by_release,
)
from podbuild.tags.owners import Owned, Owners

__all__ = [
    "Ancestry",
    "Decision",
    "Located",
    "NamedTag",
    "Owned",
    "Owners",
    "Published",
    "Range",
    "Reader",
    "RemoteTag",
    "Result",
    "TagKind",
    "Verdict",
    "branch_guard",
    "branch_tags",
    "immutable_guard",
    "kind_of",
    "owned_versions",
    "release_tags",
    "rollback_target",
    "sha_guard",
    "version_guard",
    "written_by_release",
]
