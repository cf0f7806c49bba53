"""From what a user asks for to a decided plan: git's facts, the registries' answers, the guards."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from podbuild.commands.foreign import output_refusal
from podbuild.config.inputs import names_platforms, require_inputs
from podbuild.config.model import Config
from podbuild.config.output import OUTPUT_NAMES
from podbuild.config.secrecy import refuse_secret_arguments
from podbuild.config.toml import some
from podbuild.errors import (
    ConfigError,
    CredentialError,
    ImmutableTagError,
    PublishError,
    VersionError,
)
from podbuild.oci.names import Platform, Tag
from podbuild.plan.decide import Held, decide_tags
from podbuild.plan.destination import open_destinations
from podbuild.plan.git.ci import CiFacts, ci_facts
from podbuild.plan.git.history import History, Resolved, previous_tag, resolve_version
from podbuild.plan.git.worktree import Facts, NoFacts, read_facts
from podbuild.plan.guards import Ancestry, Decision, Verdict
from podbuild.plan.journal import recorded_day, recorded_tags
from podbuild.plan.make import BasesOf, make_plan
from podbuild.plan.model import Commit, Job, Plan, PlannedImage, Request, TagMove, Target
from podbuild.plan.planned import Planned
from podbuild.plan.published import survey
from podbuild.plan.tags import TagKind, owned_versions
from podbuild.semver import TagForm, Version
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be released: a version (None: the tag that is checked out) or a branch."""

    version: str | None = None
    snapshot: bool = False
    branch: str = ""  # of a snapshot, where neither git nor the CI system tells
    pr: str = ""  # the number of a pull request, where the CI system does not tell
    scheduled: bool = False  # as a run by the clock, also where the CI system does not tell
    loose: bool = False  # `build`, `push`, `manifest`: a version counts, but none is needed
    require_tag: bool = False
    request: Request = field(default_factory=Request)


def plan_offline(services: Services, asked: Asked) -> Planned:
    """Give the plan without asking any registry: what guards decide is unknown.

    Raises ConfigError and VersionError for what can't be released.
    """
    refuse_secret_arguments(services.config, services.environment, asked.request.build_args or {})
    if refusal := output_refusal(services.config, services.runner):
        raise refusal
    own = _own_paths(services, asked.request)
    facts = read_facts(services.runner, services.config.root, own)
    ci = ci_facts(services.environment)
    form = services.config.project.form
    warnings = []
    request, tag, previous = asked.request, "", ""
    if not asked.snapshot:
        resolved = _resolve(asked, facts, ci, form)
        if resolved and resolved.tag is None and _requires_tag(services, asked):
            raise VersionError(
                resolved.warning,
                hint=f"git tag {form.tag(resolved.version)}, or do without require-tag",
            )
        expected = services.config.project.require_tag is not False or isinstance(facts, NoFacts)
        if resolved is None or resolved.tag or expected:
            warnings.append(resolved.warning if resolved else _without_git(facts))
        if resolved:
            request = replace(request, version=resolved.version)
            tag = resolved.tag or form.tag(resolved.version)
            previous = _previous(resolved.version, facts, form)
    source = _with_occasion(services, asked, request, ci, _source(facts, ci, asked.branch))
    if asked.snapshot and not (source.branch and source.commit):
        raise ConfigError(
            "a snapshot needs a branch and a commit"
            + (f": {facts.reason}" if isinstance(facts, NoFacts) else ""),
            hint="name the branch: --branch main" if source.commit else "run it in a git work tree",
        )
    refusal = None
    if isinstance(facts, Facts) and facts.dirty:
        changes = f"the work tree has changes that no commit holds ({some(facts.dirty)})"
        refusal = dirt_refusal(asked, changes)
        warnings.append(f"{changes}: {what_dirt_means(refusal)}")
    plan = make_plan(services.config, request, source, _bases_of(services.config))
    plan = plan.without_tags() if asked.loose else plan
    if asked.snapshot:
        warnings += _untagged(plan)
    built = {job.image for job in plan.jobs}
    require_inputs(planned.image for planned in plan.images if planned.name in built)
    history = (
        History(
            runner=services.runner,
            folder=services.config.root,
            facts=facts,
            branch=source.branch,
        )
        if isinstance(facts, Facts)
        else None
    )
    return Planned(
        plan=plan,
        tag=tag,
        previous_tag=previous,
        git=f"{facts.commit} {' '.join(facts.tags_at_head)}" if isinstance(facts, Facts) else "",
        ancestry=history.ancestry if history else lambda _revision: Ancestry.UNKNOWN,
        warnings=tuple(filter(None, warnings)),
        refusal=refusal,
    )


def _bases_of(config: Config) -> BasesOf:
    """Give what reads the Containerfiles in which FROM asks for another platform, if any does."""

    @functools.cache
    def reading() -> BasesOf:
        from podbuild.build.inputs.across import bases_of  # noqa: PLC0415  # seldom needed
        from podbuild.build.toolchain.emulation import native_architecture  # noqa: PLC0415

        return bases_of(config, Platform("linux", native_architecture()))

    def bases(image: PlannedImage, platform: Platform) -> tuple[Job, ...] | None:
        return reading()(image, platform) if names_platforms(image.image) else None

    return bases


def _untagged(plan: Plan) -> tuple[str, ...]:
    """Name the images that a snapshot would leave without a tag; raises ConfigError for all."""
    tagged = {target.image for target in plan.targets if target.tags}
    left = sorted({target.image for target in plan.targets} - tagged)
    branch = plan.source.branch or ""
    if left and not tagged:
        raise ConfigError(
            f"no rule of [tags] branches gives a snapshot of {branch} any tag",
            hint=f'add one, such as branches = {{ "{branch}" = ["edge"] }}; '
            "`podbuild build` only builds",
        )
    return tuple(
        f"{image}: no rule of its [tags] branches is for {branch}, so it gets no tag"
        for image in left
    )


def _requires_tag(services: Services, asked: Asked) -> bool:
    return asked.require_tag or (services.config.project.require_tag is True and not asked.loose)


def dirt_refusal(asked: Asked, changes: str) -> ConfigError | None:
    """Give why a version is not released from such a tree; branches get a mark and a warning."""
    if asked.snapshot or asked.loose or asked.request.dirty:
        return None
    return ConfigError(
        changes,
        hint="commit or remove them; --allow-dirty releases them, marked as never to be adopted",
    )


def what_dirt_means(refusal: ConfigError | None) -> str:
    """Say what becomes of what such a tree gives."""
    if refusal:
        return "`podbuild release` refuses it without --allow-dirty"
    return "what is made is marked, and can't be made again from the commit"


def _resolve(asked: Asked, facts: Facts | NoFacts, ci: CiFacts, form: TagForm) -> Resolved | None:
    try:
        return resolve_version(asked.version, facts, ci, form)
    except ConfigError:
        if asked.loose and asked.version is None:
            return None
        raise


def _without_git(facts: Facts | NoFacts) -> str:
    return f"no commit is known: {facts.reason}" if isinstance(facts, NoFacts) else ""


def _previous(version: Version, facts: Facts | NoFacts, form: TagForm) -> str:
    return previous_tag(version, facts.tags, form) or "" if isinstance(facts, Facts) else ""


def plan_tolerantly(services: Services, offline: Planned) -> Planned:
    """Give the plan as plan_online does, or as it is where a registry can't be asked.

    For what publishes nothing: it only loses what it could have re-used.
    """
    try:
        return plan_online(services, offline)
    except (CredentialError, PublishError) as error:
        services.cancel.check()
        warning = f"nothing that registries hold is re-used: {error.message}"
        return replace(offline, warnings=(*offline.warnings, warning))


def plan_online(services: Services, offline: Planned) -> Planned:
    """Give the plan with every tag decided by what the registries hold.

    Raises what required registries raise.
    """
    found = survey(offline.plan, open_destinations(services.opener, offline.plan))
    others = replace(offline.plan, targets=offline.plan.beside)
    beside = tuple(
        replace(each, required=False) for each in open_destinations(services.opener, others)
    )
    elsewhere = survey(offline.plan, beside)
    facts = {**found.facts, **elsewhere.facts}
    revisions = {
        remote.revision
        for target in (*offline.plan.targets, *offline.plan.beside)
        if target.key in facts
        for move in target.tags
        if move.kind is TagKind.MOVING
        and (remote := facts[target.key].found.get(move.named.tag))
        and remote.revision
    }
    asked = () if offline.plan.version else revisions  # versions need no history
    known = {revision: offline.ancestry(revision) for revision in asked}
    plan = _decided(services, offline.plan, facts, known)
    destinations = tuple(
        each for each in open_destinations(services.opener, plan) if each not in found.silent
    )
    silent = tuple(
        f"{each.registry} could not be asked and is left out: {error.message}"
        for each, error in found.silent.items()
    ) + tuple(
        f"{each.registry} could not be asked whether it holds this already: {error.message}"
        for each, error in elsewhere.silent.items()
    )
    replaced = {
        f"{target.key}:{move}": remote.digest
        for target in plan.targets
        if target.key in found.facts
        for move in target.tags
        if move.decision is Decision.MOVE
        and (remote := found.facts[target.key].found.get(move.named.tag))
    }
    return replace(
        offline,
        plan=plan,
        replaced=replaced,
        earlier={
            target.key: _worth_reading(plan, target, found.facts[target.key])
            for target in plan.targets
            if target.key in found.facts
        },
        before=_compared_with(plan, found.facts),
        destinations=destinations,
        beside=tuple(each for each in beside if each not in elsewhere.silent),
        silent=found.silent,
        warnings=offline.warnings + silent,
    )


def _compared_with(plan: Plan, facts: Mapping[str, Held]) -> Mapping[str, Tag]:
    """Give the tag of each target that sizes are compared with.

    For a version the highest stable one below it, else what the branch's tag names now.
    """
    found: dict[str, Tag] = {}
    for target in plan.targets:
        held = facts.get(target.key)
        if held is None:
            continue
        if plan.version is None:
            moving = (move.named.tag for move in target.tags if move.kind is TagKind.MOVING)
            tags = [tag for tag in moving if tag in held.found]
        else:
            image = plan.image(target.image)
            every = owned_versions(held.tags, image.readers, plan.readers_beside(image.name))
            below = {tag: at for tag, at in every.items() if _is_before(at, plan)}
            tags = sorted(below, key=lambda tag: below[tag], reverse=True)
        if tags:
            found[target.key] = tags[0]
    return found


def _is_before(version: Version, plan: Plan) -> bool:
    asked = plan.version
    stable = version.is_stable and version not in plan.yanked
    return stable and asked is not None and version < asked


def _decided(
    services: Services,
    plan: Plan,
    facts: Mapping[str, Held],
    ancestry: Mapping[str, Ancestry],
) -> Plan:
    """Decide every tag; files are compared only where all else says that a result is adopted."""
    decided = decide_tags(plan, facts, ancestry)
    if any(image.adopted for image in decided.images):
        from podbuild.commands.sources import with_sources  # noqa: PLC0415  # seldom needed

        decided = decide_tags(with_sources(services, plan, decided, facts), facts, ancestry)
    return _own_results_stand(services, decided, facts)


def _own_results_stand(services: Services, plan: Plan, facts: Mapping[str, Held]) -> Plan:
    """Let a release be run again whose own journal says that it put a version tag there.

    Without a clean commit nothing else tells. The image is made again, and its tag must come out
    the same: the guard refuses any other.
    """
    if not plan.refused or (plan.source.commit and not plan.source.dirty):
        return plan
    recorded = recorded_tags(services.config.output, plan.name)
    mine = Verdict(Decision.ADOPT, "this release has put it there")

    def judged(target: Target, move: TagMove) -> TagMove:
        remote = facts[target.key].found.get(move.named.tag) if target.key in facts else None
        own = (
            remote
            and remote.revision == plan.source.commit
            and recorded.get(f"{target.key}:{move}") == remote.digest
        )
        return replace(move, verdict=mine) if own and move.decision is Decision.REFUSE else move

    targets = tuple(
        replace(target, tags=tuple(judged(target, move) for move in target.tags))
        for target in plan.targets
    )
    return replace(plan, targets=targets)


def _worth_reading(plan: Plan, target: Target, held: Held) -> tuple[Tag, ...]:
    """Give the tags whose images may have the same inputs: what moves, the highest versions."""
    image = plan.image(target.image)
    versions = owned_versions(held.tags, image.readers, plan.readers_beside(image.name))
    newest = sorted(versions, key=lambda tag: versions[tag], reverse=True)
    moving = [tag for tag in held.found if tag not in versions]
    return tuple(dict.fromkeys((*moving[:1], *newest[:2], *moving[1:])))


def refuse_conflicts(plan: Plan) -> None:
    """Raise ImmutableTagError when a version tag names something else already."""
    refused = plan.refused
    if not refused:
        return
    target, move = refused[0]
    others = tuple(f"{each.place}:{other}: {other.verdict.reason}" for each, other in refused[1:])
    raise ImmutableTagError(
        f"{target.place}:{move}: {move.verdict.reason}",
        hint="release a new version, or pass --allow-overwrite",
        details=others,
    )


def _with_occasion(
    services: Services, asked: Asked, request: Request, ci: CiFacts, source: Commit
) -> Commit:
    """Add what only some tags ask for: the pull request, the clock, the day that it began."""
    pr = (asked.pr or ci.pr) if asked.snapshot else ""
    source = replace(
        source,
        branch=source.branch or (f"pull/{pr}" if pr else None),
        pr=pr,
        scheduled=asked.snapshot and (asked.scheduled or ci.scheduled),
    )
    name = str(request.version or source.branch or source.short or "snapshot")
    try:
        day = recorded_day(services.config.output, name, source.commit)
    except ConfigError:  # a damaged journal is told of where it is opened
        day = ""
    return replace(source, day=day or f"{datetime.now(UTC):%Y%m%d}")


def _source(facts: Facts | NoFacts, ci: CiFacts, branch: str = "") -> Commit:
    branch = branch.removeprefix("refs/heads/")
    if isinstance(facts, NoFacts):
        return Commit(branch=branch or ci.branch)
    return Commit(
        commit=facts.commit,
        created=facts.created,
        branch=branch or ci.branch_of(facts.commit) or facts.branch,
        dirty=bool(facts.dirty),
    )


def _own_paths(services: Services, request: Request) -> tuple[Path, ...]:
    """Give what is podbuild's in the work tree, also of other machines: it makes nothing dirty."""
    config = services.config
    named = [path for name in (*OUTPUT_NAMES, "history.html") for path in config.output.glob(name)]
    if config.output.is_symlink():  # "dist/" in .gitignore means folders alone
        named.append(config.output)
    for registry in config.registries:
        fixed = registry.path.text.partition("{")[0] if registry.path else ""
        if fixed and not Path(fixed).is_absolute():
            named.extend(config.root.glob(f"{fixed}*"))
    named.extend(each for each in request.handed_over if isinstance(each, Path))
    named.extend(config.history.folder.glob("run*.json") if config.history.folder else ())
    return tuple(named)
