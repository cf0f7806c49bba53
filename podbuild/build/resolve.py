"""What reaches each image: bases resolved, every input read, and the hash of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from podbuild.build.bases import Bases, registries_conf
from podbuild.build.cache.open import by_host
from podbuild.build.engine.registries_conf import (
    Mirror,
)
from podbuild.build.engines import Engines
from podbuild.build.inputs.hash import Sources, input_hash
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe, outside_images
from podbuild.build.inputs.required import check_required
from podbuild.build.model import InputHash
from podbuild.build.pins import Pinner, repository_of
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.config.choices import Pull
from podbuild.oci.names import Platform
from podbuild.oci.store import Store
from podbuild.oci.transport.endpoint import Endpoint
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Journal
from podbuild.plan.model import Job
from podbuild.system.records import Records
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that reaches each job's image, and the hash of it."""

    recipes: Mapping[Job, Recipe]
    hashes: Mapping[Job, InputHash]


def resolve(planned: Planned, engines: Engines, *, anew: bool = False) -> Inputs:
    """Resolve bases and read every input, once; raises what can't be read or found.

    With `anew`, what bases name now counts (where `pull` is "always"), not what the journal says:
    only a release that continues is bound by its pins.
    """
    plan, around = planned.plan, _surroundings(engines, anew=anew)
    places = engines.places
    sources = Sources(
        plan=plan,
        output=around.output,
        contents=engines.contents,
        history=around.history,
        readings=around.readings,
    )
    recipes: dict[Job, Recipe] = {}
    hashes: dict[Job, InputHash] = {}
    for job in plan.jobs:  # what others build on comes first
        build = places.build_platform(job.platform) if places else around.build
        recipe = make_recipe(
            plan, plan.image(job.image), job.platform, replace(around, build=build)
        )
        check_required(recipe)
        recipes[job] = recipe
        inputs = input_hash(
            recipe,
            engine=places.engine(recipe) if places else engines.toolchain().identity,
            contents=engines.contents,
            git=planned.git,
            inner=hashes,
        )
        hashes[job] = replace(inputs, source=sources.made_by(recipes[job]))
    engines.contents.save()
    return Inputs(recipes=recipes, hashes=hashes)


def _surroundings(engines: Engines, *, anew: bool) -> Surroundings:
    native, readings = Platform("linux", native_architecture()), Readings()
    return Surroundings(
        build=native,
        output=engines.services.config.output,
        pins=_pinned(engines, native, readings, anew=anew),
        facts=open_bases(engines.services).facts,
        history=engines.services.config.history.folder,
        readings=readings,
    )


def _pinned(
    engines: Engines, native: Platform, readings: Readings, *, anew: bool
) -> Mapping[str, str]:
    """Resolve what the images to make need from outside; raises as Pinner.pin does."""
    plan = engines.plan
    needed = {job.image for job in plan.jobs}
    names: dict[str, bool] = {}  # whether an image wants to know what it is now
    for image in plan.images:
        if image.name in needed:
            wants = anew and image.image.pull is Pull.ALWAYS
            for name in outside_images(plan, image, native, readings):
                names[name] = names.get(name, False) or wants
    asked_anew = frozenset(name for name, wants in names.items() if wants)
    return open_pinner(engines.services, engines.journal, asked_anew).pin(names)


def open_pinner(services: Services, journal: Journal, anew: frozenset[str]) -> Pinner:
    """Give what resolves outside bases to digests, once per release; `anew` whatever is known."""
    return Pinner(
        conf=registries_conf(services),
        open_store=lambda mirror: _open_base(services, mirror),
        journal=journal,
        anew=anew,
    )


def open_bases(services: Services) -> Bases:
    """Give what reads what bases hand on."""
    return Bases(
        conf=registries_conf(services),
        open_store=lambda mirror: _open_base(services, mirror),
        records=Records.of_project(services.folders.cache, services.config.root),
    )


def _open_base(services: Services, mirror: Mirror) -> Store:
    """Open where a base comes from; what the configuration says of that host holds here too."""
    repository = repository_of(mirror)
    configured = by_host(services.config).get(repository.host)
    endpoint = Endpoint(
        host=repository.host,
        insecure=mirror.insecure,
        ca=configured.ca if configured else None,
    )
    name = configured.name if configured else ""
    return services.opener.registries.open(repository, endpoint, name)
