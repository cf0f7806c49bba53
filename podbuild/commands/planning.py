"""From what a user asks for to a decided plan: git's facts, the registries' answers, the guards.

What was built from a work tree with changes, elsewhere or here before, makes it the plan of one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from podbuild.build.inputs import across
from podbuild.build.inputs import hash as hashing
from podbuild.build.model import BuildRecord, Handed
from podbuild.build.toolchain import emulation
from podbuild.commands import adoption
from podbuild.commands.borders import output_refusal
from podbuild.config.model import Config
from podbuild.config.output import OUTPUT_NAMES, torn_names
from podbuild.config.secrecy import names_platforms, refuse_secret_arguments, require_inputs
from podbuild.config.toml import some
from podbuild.errors import (
    ConfigError,
    CredentialError,
    ImmutableTagError,
    PublishError,
    VersionError,
)
from podbuild.oci.names import Platform
from podbuild.plan.decide import (
    Held,
    decide_tags,
    earlier_tags,
    named_revisions,
    replaced_tags,
    standing_images,
    tags_before,
)
from podbuild.plan.destination import Planned, Survey, open_destinations, own_failure, survey
from podbuild.plan.git.history import (
    CiFacts,
    History,
    Resolved,
    ci_facts,
    previous_tag,
    resolve_version,
)
from podbuild.plan.git.worktree import Facts, NoFacts, read_facts
from podbuild.plan.guards import Ancestry, Decision, Verdict
from podbuild.plan.journal import Journal, Section, TagKey, recorded_day, recorded_tags
from podbuild.plan.make import BasesOf, make_plan
from podbuild.plan.model import Commit, Job, Plan, PlannedImage, Request, TagMove, Target
from podbuild.semver import TagForm, Version
from podbuild.workspace import Services


def plan_offline(services: Services, request: Request) -> Planned:
    """Give the plan without asking any registry: what guards decide is unknown.

    Raises ConfigError and VersionError for what can't be released.
    """
    config = services.config
    refuse_secret_arguments(config, services.environment, request.build_args)
    if output := output_refusal(config, services.runner):
        raise output
    facts = read_facts(services.runner, config.root, _own_paths(services, request))
    ci = ci_facts(services.environment)
    found = None if request.snapshot else _resolved(services, request, facts, ci)
    request = replace(request, version=found.version) if found else request
    source = _with_occasion(services, request, ci, _source(facts, ci, request.branch))
    if request.snapshot and not (source.branch and source.commit):
        raise _nowhere(source, facts)
    changes = _changes(facts)
    refusal = dirt_refusal(request, changes) if changes else None
    plan = make_plan(config, request, source, _bases_of(config))
    plan = plan.without_tags() if request.loose else plan
    untagged = _untagged(plan) if request.snapshot else ()
    built = {job.image for job in plan.jobs}
    require_inputs(planned.image for planned in plan.images if planned.name in built)
    said = found.warning if found else _without_git(facts)
    marked = f"{changes}: {what_dirt_means(refusal)}" if changes else ""
    return Planned(
        plan=plan,
        tag=(found.tag or config.project.form.tag(found.version)) if found else "",
        previous_tag=_previous(found.version, facts, config.project.form) if found else "",
        git=f"{facts.commit} {' '.join(facts.tags_at_head)}" if isinstance(facts, Facts) else "",
        ancestry=_ancestry(services, facts, source.branch),
        warnings=tuple(filter(None, (said, marked, *untagged))),
        refusal=refusal,
    )


def _nowhere(source: Commit, facts: Facts | NoFacts) -> ConfigError:
    return ConfigError(
        "a snapshot needs a branch and a commit"
        + (f": {facts.reason}" if isinstance(facts, NoFacts) else ""),
        hint="name the branch: --branch main" if source.commit else "run it in a git work tree",
    )


def _changes(facts: Facts | NoFacts) -> str:
    """Say what no commit holds; empty where there is nothing such."""
    if isinstance(facts, NoFacts) or not facts.dirty:
        return ""
    return f"the work tree has changes that no commit holds ({some(facts.dirty)})"


def _ancestry(
    services: Services, facts: Facts | NoFacts, branch: str | None
) -> Callable[[str], Ancestry]:
    if isinstance(facts, NoFacts):
        return lambda _revision: Ancestry.UNKNOWN
    folder = services.config.root
    return History(runner=services.runner, folder=folder, facts=facts, branch=branch).ancestry


def _bases_of(config: Config) -> BasesOf:
    """Give what reads the Containerfiles in which FROM asks for another platform, if any does."""

    @functools.cache
    def reading() -> BasesOf:
        return across.bases_of(config, Platform("linux", emulation.native_architecture()))

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


def dirt_refusal(request: Request, changes: str) -> ConfigError | None:
    """Give why a version is not released from such a tree; branches get a mark and a warning."""
    if request.snapshot or request.loose or request.dirty:
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


def _resolved(
    services: Services, request: Request, facts: Facts | NoFacts, ci: CiFacts
) -> Resolved | None:
    """Give the version; None where none is needed and nothing tells it."""
    project = services.config.project
    try:
        found = resolve_version(request.wanted, facts, ci, project.form)
    except ConfigError:
        if request.loose and request.wanted is None:
            return None
        raise
    if found.tag is not None:
        return found
    if request.require_tag or (project.require_tag is True and not request.loose):
        raise VersionError(
            found.warning,
            hint=f"git tag {project.form.tag(found.version)}, or do without require-tag",
        )
    expected = project.require_tag is not False or isinstance(facts, NoFacts)
    return found if expected else replace(found, warning="")


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
        own_failure(error, services.cancel)
        warning = f"nothing that registries hold is re-used: {error.message}"
        return replace(offline, warnings=(*offline.warnings, warning))


def plan_online(services: Services, offline: Planned) -> Planned:
    """Give the plan with every tag decided by what the registries hold.

    Raises what required registries raise.
    """
    asked = offline.plan
    found = survey(asked, open_destinations(services.opener, asked), services.cancel)
    beside = tuple(
        replace(each, required=False)
        for each in open_destinations(services.opener, replace(asked, targets=asked.beside))
    )
    elsewhere = survey(asked, beside, services.cancel)
    facts: Mapping[str, Held] = {**found.facts, **elsewhere.facts}
    known = {revision: offline.ancestry(revision) for revision in named_revisions(asked, facts)}
    plan = _decided(services, asked, facts, known)
    unsigned: tuple[str, ...] = ()
    if services.config.attest:
        asked_of = (*open_destinations(services.opener, asked), *beside)
        facts, lacking = adoption.with_signatures(services, plan, facts, asked_of)
        if lacking:
            plan = _decided(services, asked, facts, known)
        unsigned = tuple(adoption.unsigned(plan, facts, lacking))
    opened = open_destinations(services.opener, plan)
    return replace(
        offline,
        plan=plan,
        replaced=replaced_tags(plan, found.facts),
        earlier=earlier_tags(plan, found.facts),
        before=tags_before(plan, found.facts),
        standing=standing_images(plan, found.facts),
        destinations=tuple(each for each in opened if each not in found.silent),
        beside=tuple(each for each in beside if each not in elsewhere.silent),
        silent=found.silent,
        warnings=(*offline.warnings, *_unasked(found, elsewhere), *unsigned),
    )


def _unasked(found: Survey, elsewhere: Survey) -> Iterator[str]:
    for each, error in found.silent.items():
        yield f"{each.registry} could not be asked and is left out: {error.message}"
    for each, error in elsewhere.silent.items():
        yield f"{each.registry} could not be asked whether it holds this already: {error.message}"


def _decided(
    services: Services,
    plan: Plan,
    facts: Mapping[str, Held],
    ancestry: Mapping[str, Ancestry],
) -> Plan:
    """Decide every tag; files are compared only where all else says that a result is adopted."""
    decided = decide_tags(plan, facts, ancestry)
    if any(image.adopted for image in decided.images):
        decided = decide_tags(hashing.with_sources(services, plan, decided, facts), facts, ancestry)
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
            and recorded.get(TagKey(target.key, move.named.tag)) == remote.digest
        )
        return replace(move, verdict=mine) if own and move.decision is Decision.REFUSE else move

    targets = tuple(
        replace(target, tags=tuple(judged(target, move) for move in target.tags))
        for target in plan.targets
    )
    return replace(plan, targets=targets)


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


def _with_occasion(services: Services, request: Request, ci: CiFacts, source: Commit) -> Commit:
    """Add what only some tags ask for: the pull request, the clock, the day that it began."""
    pr = (request.pr or ci.pr) if request.snapshot else ""
    source = replace(
        source,
        branch=source.branch or (f"pull/{pr}" if pr else None),
        pr=pr,
        scheduled=request.snapshot and (request.scheduled or ci.scheduled),
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
    named.extend(config.output / name for name in torn_names(config.output))
    if config.output.is_symlink():  # "dist/" in .gitignore means folders alone
        named.append(config.output)
    for registry in config.registries:
        fixed = registry.path.text.partition("{")[0] if registry.path else ""
        if fixed and not Path(fixed).is_absolute():
            named.extend(config.root.glob(f"{fixed}*"))
    named.extend(each for each in request.handed_over if isinstance(each, Path))
    named.extend(config.history.folder.glob("run*.json") if config.history.folder else ())
    return tuple(named)


def with_dirt(planned: Planned, handed: Iterable[Handed]) -> Planned:
    """Give the plan as one of a tree with changes, where such a tree was built elsewhere."""
    folders = {each.place for each in handed if each.record.dirty}
    return _with_changes(planned, f"what {', '.join(sorted(folders))} holds", any(folders))


def with_built_dirt(planned: Planned, journal: Journal, handed: Iterable[Handed]) -> Planned:
    """Give the plan as one of a tree with changes, where such a tree was built here before.

    What is `handed` takes the place of what was built.
    """
    kept = {*planned.plan.jobs} - {each.job for each in handed}
    records = (BuildRecord.from_json(journal.get(Section.BUILT, str(job))) for job in kept)
    dirty = any(record.dirty for record in records if record)
    return _with_changes(planned, "what is staged here", dirty)


def _with_changes(planned: Planned, what: str, dirty: bool) -> Planned:
    if not dirty or planned.plan.source.dirty:
        return planned
    changes = f"{what} was built from a work tree with changes"
    refusal = dirt_refusal(planned.plan.request, changes)
    return replace(
        planned,
        plan=planned.plan.marked_dirty(),
        warnings=(*planned.warnings, f"{changes}: {what_dirt_means(refusal)}"),
        refusal=refusal,
    )
