"""What podbuild.toml says of what follows a release: its notes, and the files that deploy it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podbuild.config.choices import NAME, URL
from podbuild.config.keys import FLAG, TEXT, choice, key, list_of, map_of, matching

_REPOSITORY = matching(
    r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)+", "a repository", "such as acme/shop, without a host"
)
_TAG = matching(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", "a tag", "such as edge")


class ForgeKind(StrEnum):
    """Whose release pages they are; Forgejo answers as Gitea does."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


@dataclass(frozen=True, kw_only=True)
class NotesSettings:
    """Where the images of a release are told of."""

    update: bool = field(
        default=False,
        metadata=key(
            FLAG, "true: after a release, put the images into the notes on the forge; best effort"
        ),
    )
    create: bool = field(
        default=False,
        metadata=key(
            FLAG, "true: make a release page where there is none, a draft where the forge has them"
        ),
    )
    forge: ForgeKind | None = field(
        default=None,
        metadata=key(
            choice(ForgeKind), "what it is, where its address does not tell", example='"gitea"'
        ),
    )
    repository: str = field(
        default="",
        metadata=key(
            _REPOSITORY,
            "whose releases, where [project] source does not tell",
            example='"acme/shop"',
        ),
    )
    api: str | None = field(
        default=None,
        metadata=key(
            URL,
            "its API, where that is not the usual one; it gets only PODBUILD_NOTES_TOKEN",
            example='"https://git.example.com/api/v1"',
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Files that name images of this project, and what they shall name."""

    name: str
    files: tuple[str, ...] = field(
        metadata=key(
            list_of(TEXT, least=1),
            "the files whose references are pinned, from the folder of podbuild.toml",
            example='["deploy/production/*.yaml"]',
        )
    )
    registry: str = field(
        default="",
        metadata=key(
            NAME,
            "whose names `podbuild pin --format` writes; in files each keeps its own",
            example='"ghcr"',
        ),
    )
    tag: str = field(
        default="",
        metadata=key(
            _TAG,
            "a tag that `podbuild promote` moves, pinned where no VERSION is given",
            example='"production"',
        ),
    )
    follow: str = field(
        default="",
        metadata=key(_TAG, "a tag that is pinned whatever VERSION is given", example='"edge"'),
    )
    services: Mapping[str, str] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(NAME),
            "images by service, for `podbuild pin --format compose`, where names differ",
            example='{ frontend = "web" }',
        ),
    )
    update: bool = field(
        default=False,
        metadata=key(FLAG, "true: pin the files after a release too; best effort, never a commit"),
    )
