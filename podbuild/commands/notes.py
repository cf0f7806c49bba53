"""`podbuild notes`: the images of a release as a section of its notes, here or on the forge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from podbuild.commands.released import ReleasedImage, images_of, released_version
from podbuild.config.following import ForgeKind
from podbuild.config.toml import shown
from podbuild.errors import ConfigError, CredentialError
from podbuild.oci import kinds
from podbuild.oci.delete.rest import RestClient
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import RegistryKind
from podbuild.oci.transport.endpoint import WayOut
from podbuild.plan.git.history import Resolved, ci_facts
from podbuild.plan.model import Request
from podbuild.publish.forges import (
    NO_TOKEN,
    Forge,
    ForgeProject,
    GitHubReleases,
    GitLabReleases,
    find_project,
)
from podbuild.report.notes import Noted, NotedImage, NotedPlatform, put_in
from podbuild.semver import Version
from podbuild.workspace import Services

_GITHUB = kinds.HOMES[RegistryKind.GHCR]
_LOOPBACK = re.compile(r"http://(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])(?::\d+)?(?:/|$)")


class NotesOutcome(StrEnum):
    """What became of the notes on the forge."""

    UNCHANGED = "unchanged"
    UPDATED = "updated"
    CREATED = "created"
    ABSENT = "no release"
    FULL = "no room"


@dataclass(frozen=True)
class ForgeAccess:
    """The forge's releases, for people `place`, and the git tag of one of them."""

    forge: Forge
    place: str
    tag: str


def noted(services: Services, version: Version, request: Request) -> Noted:
    """Give what the notes of a version say, as the registries hold it.

    Raises VersionError where no registry has it, VerificationError where they disagree.
    """
    found = released_version(services, version, request)
    signing = services.config.attest.sign if services.config.attest else None
    key = signing.public_key if signing else None
    return Noted(
        images=tuple(_image(services, each) for each in found),
        public_key=shown(key) if key else "",
        link=services.config.project.source,
    )


def _image(services: Services, released: ReleasedImage) -> NotedImage:
    places = tuple(
        (where.registry, where.store.reference(held.tag)) for where, held in released.held.items()
    )
    layouts = {each.name for each in services.config.registries if each.kind is RegistryKind.LAYOUT}
    pullable = [where for where in released.held if where.registry not in layouts]
    return NotedImage(
        name=released.name,
        digest=released.digest,
        places=places,
        pull=pullable[0].store.reference(released.digest) if pullable else "",
        before=str(released.before_version) if released.before and released.before_version else "",
        platforms=tuple(_platforms(released)),
    )


def _platforms(released: ReleasedImage) -> Iterator[NotedPlatform]:
    store = released.source.store
    now = images_of(store, released.held[released.source].manifest)
    old = images_of(store, released.before) if released.before else {}
    for platform, image in sorted(now.items()):
        before = old.get(platform)
        known = {layer.digest for layer in before.layers} if before else set()
        yield NotedPlatform(
            name=str(platform),
            size=_weight(image),
            grown=_weight(image) - _weight(before) if before else None,
            update=sum(each.size for each in _layers(image) if each.digest not in known)
            if before
            else None,
        )


def _weight(image: Manifest) -> int:
    return sum(each.size for each in _layers(image))


def _layers(image: Manifest) -> tuple[Descriptor, ...]:
    """Give each layer once: a pull fetches what stands there twice once."""
    return tuple({each.digest: each for each in image.layers}.values())


def open_forge(services: Services, asked: Resolved) -> ForgeAccess:
    """Give the forge's releases, with a login of this environment.

    A token goes to the host that it belongs to: GITHUB_TOKEN to api.github.com, CI_JOB_TOKEN to
    the GitLab whose job this is, any other API gets PODBUILD_NOTES_TOKEN. Raises ConfigError
    where the forge is not known, CredentialError without a token.
    """
    environment, settings = services.environment, services.config.notes
    server = environment.get("CI_SERVER_URL") or environment.get("GITHUB_SERVER_URL") or ""
    project = find_project(
        settings, services.config.project.source, ci_facts(environment), server.rstrip("/")
    )
    if project.api.startswith("http://") and not _LOOPBACK.match(project.api):
        raise ConfigError(
            f"[notes] api = {project.api!r} would send a token without TLS", hint="use https"
        )
    login = _login(services, project)
    rest = RestClient(
        project.api,
        conduct=services.opener.registries.conduct,
        network=WayOut.from_environment(environment),
        headers=_GITHUB.headers if project.kind is ForgeKind.GITHUB else {},
    )
    forge: Forge
    if project.kind is ForgeKind.GITLAB:
        forge = GitLabReleases(rest=rest, login=login, path=project.path)
    else:
        forge = GitHubReleases(rest=rest, login=login, path=project.path, kind=project.kind)
    place = f"{urlsplit(project.api).netloc}: {project.path}"
    return ForgeAccess(forge, place, asked.tag or services.config.project.form.tag(asked.version))


def _login(services: Services, project: ForgeProject) -> dict[str, str]:
    environment = services.environment
    own = environment.get("PODBUILD_NOTES_TOKEN", "").strip()
    if own:
        header = {
            ForgeKind.GITHUB: ("Authorization", f"Bearer {own}"),
            ForgeKind.GITLAB: ("PRIVATE-TOKEN", own),
            ForgeKind.GITEA: ("Authorization", f"token {own}"),
        }[project.kind]
        return dict((header,))
    github = environment.get("GITHUB_TOKEN", "").strip()
    if github and project.kind is ForgeKind.GITHUB and project.api == _GITHUB.api:
        return {"Authorization": f"Bearer {github}"}
    job = environment.get("CI_JOB_TOKEN", "").strip()
    here = environment.get("CI_API_V4_URL", "").rstrip("/")
    if job and project.kind is ForgeKind.GITLAB and project.api == here:
        return {"JOB-TOKEN": job}
    host = urlsplit(project.api).netloc
    raise CredentialError(
        f"there is no token for the releases at {host}", hint=NO_TOKEN[project.kind]
    )


def update_notes(access: ForgeAccess, found: Noted, *, create: bool) -> NotesOutcome:
    """Put the section into the forge's release; what is as it should be is only read.

    It is read again right before it is written, as nothing keeps others from writing meanwhile.
    """
    forge = access.forge
    page = forge.find(access.tag)
    if page is None and create:
        forge.create(access.tag, put_in("", found, forge.limit) or "")
        return NotesOutcome.CREATED
    if page is None:
        return NotesOutcome.ABSENT
    body = put_in(page.body, found, forge.limit)
    if body not in (None, page.body):
        page = forge.again(page)
        body = put_in(page.body, found, forge.limit)
    if body is None:
        return NotesOutcome.FULL
    if body == page.body:
        return NotesOutcome.UNCHANGED
    forge.write(page, body)
    return NotesOutcome.UPDATED


def say_outcome(services: Services, access: ForgeAccess, outcome: NotesOutcome) -> None:
    """Say what became of the notes; that nothing could be done is a warning."""
    ui = services.ui
    match outcome:
        case NotesOutcome.ABSENT:
            ui.warn(
                f"{access.place} has no release for {access.tag}, so there are no notes to update "
                "(--create, or [notes] create = true, makes one)"
            )
        case NotesOutcome.FULL:
            ui.warn(f"{access.place}: the notes of {access.tag} are as long as they may be")
        case _:
            ui.info(f"{access.place}: the notes of {access.tag}: {outcome}")
