"""One platform's image as a whole: its files, what is hidden, who owns what, which line made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from podbuild.build.attest.catalog import PACKAGES, Found, found_in
from podbuild.build.examine.blame import Cause, LayerCauses, Steps
from podbuild.build.examine.development import DEVELOPMENT
from podbuild.build.examine.leaks import SECRETS
from podbuild.build.examine.owners import OWNERS, Ownership, owners_of
from podbuild.build.examine.programs import ImageFiles, ProgramFacts
from podbuild.build.image import read_config
from podbuild.oci.examine import Examiner, Hashing, Listing, contents, listed
from podbuild.oci.filesystem import Body, Folded, Placed, folded
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.oci.store import Store
from podbuild.system.records import JSONValue

BASE = "base"  # the owner of a base's files that no package owns
QUESTIONS = (
    Listing(),
    ProgramFacts(),
    PACKAGES,
    OWNERS,
    SECRETS,
    DEVELOPMENT,
    Hashing(),
)


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What is known of one platform's image. `made` says which line each layer is of."""

    image: str
    platform: Platform
    manifest: Manifest
    config: Mapping[str, JSONValue] = field(repr=False)
    folded: Folded = field(repr=False)
    owners: Ownership = field(repr=False)
    made: LayerCauses
    steps: Steps
    answers: tuple[Mapping[str, JSONValue], ...] = field(repr=False)

    @property
    def own(self) -> int:
        """Give the index of the first layer that is not the base's."""
        return self.made.base

    @property
    def own_bytes(self) -> int:
        """Give the bytes of the files in own layers."""
        return sum(self.folded.totals[self.own :])

    @property
    def own_hidden(self) -> int:
        """Give the bytes that own layers hide, of whatever layer."""
        return sum(each.size for each in self.folded.hidden if each.by >= self.own)

    @property
    def inner(self) -> Mapping[str, JSONValue]:
        """Give the image's `config` object: User, Env, Entrypoint."""
        found = self.config.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def files(self) -> ImageFiles:
        """Give its files with what is known of programs and users."""
        facts = (each[ProgramFacts.key] for each in self.answers)
        return ImageFiles(self.folded.files, tuple(x if isinstance(x, dict) else {} for x in facts))

    @cached_property
    def packages(self) -> Found:
        """Give the packages that it holds."""
        return found_in(self.folded.files, [each[PACKAGES.key] for each in self.answers])

    def cause(self, layer: int) -> Cause:
        """Give the line that made a layer."""
        causes = self.made.causes
        return causes[min(layer, len(causes) - 1)] if causes else self.steps.last(("FROM",))

    def visible(self) -> Iterator[tuple[str, Body]]:
        """Give each visible file once, by the first path that shows it."""
        return iter(self.folded.visible.items())

    @cached_property
    def _digests(self) -> Mapping[tuple[int, str], str]:
        bodies = self.folded.visible.values()
        return {(body.layer, body.entry.path): body.digest for body in bodies}

    def digest_of(self, placed: Placed) -> str:
        """Give the digest of a visible file's content; empty for what is no file."""
        return self._digests.get((placed.layer, placed.source), "")

    def owner(self, path: str, body: Body) -> str:
        """Give who a visible file belongs to: a package, the base, or FILE:LINE of a step."""
        package = self.owners.of(path)
        if package:
            return package
        if body.layer < self.own:
            return BASE
        cause = self.cause(body.layer)
        return f"{cause.file}:{cause.line}"

    @cached_property
    def by_owner(self) -> Mapping[str, int]:
        """Give the visible bytes of each owner; with the hidden ones they make the total."""
        found: Counter[str] = Counter()
        for path, body in self.visible():
            found[self.owner(path, body)] += body.entry.size
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def anatomy_of(
    examiner: Examiner, store: Store, manifest: Manifest, named: tuple[str, Platform], steps: Steps
) -> Anatomy:
    """Read an image, each layer once; what is known of layers is not read again.

    Raises VerificationError for a layer that can't be read, and what the store raises.
    """
    answers = examiner.ask(store, manifest.layers, QUESTIONS)
    found = folded((listed(x[Listing.key]), contents(x[Hashing.key])) for x in answers)
    config = read_config(store, manifest)
    return Anatomy(
        image=named[0],
        platform=named[1],
        manifest=manifest,
        config=config,
        folded=found,
        owners=owners_of(found.files, [each[OWNERS.key] for each in answers]),
        made=steps.layers(config),
        steps=steps,
        answers=answers,
    )
