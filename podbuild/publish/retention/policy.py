"""What may go from a repository, in the words of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from podbuild.config.model import PruneRule, Retention
from podbuild.oci.names import Digest, Tag
from podbuild.plan.tags import Range
from podbuild.semver import Version

DAY = timedelta(hours=24)
MOST = 1000  # images of one repository in one run


def _no_version(_tag: Tag) -> Version | None:
    return None


def _no_range(_tag: Tag) -> Range | None:
    return None


def _one_image(_tag: Tag) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The retention of one repository at one moment.

    `superseded` are the digests that podbuild's moving tags left, with when. `leftovers` is the
    age from which untagged manifests that no record names go; None leaves them alone.
    `version_of` reads a tag back through the template that writes it, `range_of` the versions
    that a moving tag speaks for, `image_of` the image whose release writes either; `yanked`
    versions are no current release. `dates` are the committer dates of revisions. None may know
    all.
    """

    now: datetime
    retention: Retention = field(default_factory=Retention)
    rules: tuple[PruneRule, ...] = ()
    protected: frozenset[Tag] = frozenset({Tag("latest")})
    superseded: Mapping[Digest, datetime] = field(default_factory=dict)
    leftovers: timedelta | None = None
    version_of: Callable[[Tag], Version | None] = _no_version
    range_of: Callable[[Tag], Range | None] = _no_range
    image_of: Callable[[Tag], str] = _one_image
    yanked: frozenset[Version] = frozenset()
    dates: Mapping[str, datetime] = field(default_factory=dict)
    most: int = MOST

    @property
    def grace(self) -> timedelta:
        """Give how long ago podbuild's own records must be."""
        return timedelta(seconds=self.retention.grace)

    @property
    def caution(self) -> timedelta:
        """Give the least age of anything that neither a rule nor a record names."""
        return max(DAY, self.grace, self.leftovers or DAY)

    @cached_property
    def due(self) -> frozenset[Digest]:
        """Give the superseded digests whose grace is over; a date in the future is not over."""
        return frozenset(
            digest for digest, left in self.superseded.items() if self.now - left >= self.grace
        )


def prune_policy(
    retention: Retention,
    now: datetime,
    *,
    moving: frozenset[Tag] = frozenset(),
    superseded: Mapping[Digest, datetime] | None = None,
) -> Policy:
    """Give the policy of `podbuild prune`: rules, leftovers and what is still superseded."""
    return Policy(
        now=now,
        retention=retention,
        rules=retention.prune,
        protected=moving | {Tag("latest")},
        superseded=superseded or {},
        leftovers=max(DAY, timedelta(seconds=retention.grace)),
    )


def superseded_policy(
    retention: Retention, now: datetime, superseded: Mapping[Digest, datetime]
) -> Policy:
    """Give the policy after a release: what its moving tags left, and no tag at all."""
    return Policy(now=now, retention=retention, superseded=superseded)
