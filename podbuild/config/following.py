"""What podbuild.toml says of what follows a release: notes, deployment, history, messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from podbuild.config.choices import NAME, URL, VARIABLE
from podbuild.config.keys import (
    DURATION,
    FLAG,
    PATH,
    PRICE,
    TEMPLATE,
    TEXT,
    choice,
    key,
    list_of,
    map_of,
    matching,
)
from podbuild.config.template import Template
from podbuild.system.later import dataclass

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


DAY = 86400.0  # seconds


class OnRegression(StrEnum):
    """What comes of builds that take much longer than those before."""

    WARN = "warn"
    FAIL = "fail"  # exit 10, after the release is out


@dataclass(frozen=True, kw_only=True)
class HistorySettings:
    """Where runs are remembered."""

    repository: Template | None = field(
        default=None,
        metadata=key(
            TEMPLATE,
            "the repository for an entry of each run; without it and folder that of [cache], where "
            "all images share one",
            example='"ghcr.io/acme/shop-history"',
        ),
    )
    folder: Path | None = field(
        default=None,
        metadata=key(
            PATH, "a folder for the same, such as one that the CI caches", example='"ci/history"'
        ),
    )
    keep: float = field(  # seconds
        default=400 * DAY,
        metadata=key(DURATION, "`podbuild prune --apply` drops runs that are older"),
    )
    on: OnRegression = field(
        default=OnRegression.WARN,
        metadata=key(
            choice(OnRegression),
            '"fail": exit 10 where builds take much more CPU time two runs in a row',
        ),
    )


class MessageKind(StrEnum):
    """How a webhook wants its message."""

    SLACK = "slack"  # {"text": ...}; Mattermost, and Discord's /slack, take it too
    JSON = "json"  # the --json answer


class Event(StrEnum):
    """What people are told of."""

    PUBLISHED = "published"
    FAILED = "failed"
    PARTIAL = "partial"
    REGRESSED = "regressed"
    BUDGET = "budget"


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    """Who is told how a release ended."""

    webhook_env: str = field(
        default="",
        metadata=key(
            matching(r"[A-Za-z_][A-Za-z0-9_]*", "a variable", "such as PODBUILD_WEBHOOK"),
            "the environment variable that holds the webhook's URL, which is a secret",
            example='"PODBUILD_WEBHOOK"',
        ),
    )
    kind: MessageKind = field(
        default=MessageKind.SLACK,
        metadata=key(choice(MessageKind), 'the message: {"text": ...}, or the --json answer'),
    )
    command: tuple[str, ...] = field(
        default=(),
        metadata=key(
            list_of(TEXT, least=1),
            "a command that gets the --json answer on its standard input",
            example='["scripts/announce"]',
        ),
    )
    env: tuple[str, ...] = field(
        default=(),
        metadata=key(
            list_of(VARIABLE),
            "secrets of the environment that the command needs; it gets no other",
            example='["MATRIX_TOKEN"]',
        ),
    )
    on: tuple[Event, ...] = field(
        default=(Event.FAILED, Event.PARTIAL, Event.REGRESSED, Event.BUDGET),
        metadata=key(list_of(choice(Event)), "what is told"),
    )
    slow: float | None = field(  # seconds
        default=None,
        metadata=key(
            DURATION, "a release that takes longer is told of whatever its end", example='"20m"'
        ),
    )


@dataclass(frozen=True, kw_only=True)
class CostSettings:
    """What things cost, in the user's own prices; nothing is shown where none are set."""

    runner_minute: Decimal = field(
        default=Decimal(0), metadata=key(PRICE, "price of a minute of a build", example="0.008")
    )
    storage_gb_month: Decimal = field(
        default=Decimal(0),
        metadata=key(PRICE, "price of a gigabyte that is stored, a month", example="0.10"),
    )
    transfer_gb: Decimal = field(
        default=Decimal(0),
        metadata=key(PRICE, "price of a gigabyte that goes to a registry", example="0.09"),
    )
    currency: str = field(
        default="USD", metadata=key(matching(r"[A-Z]{3}", "a currency", "such as EUR"), "which")
    )
