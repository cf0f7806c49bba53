"""The hash over all that reaches an image.

It stands on the published index, so that any machine finds what is built already
(design, "The same inputs are the same image on every machine").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from podbuild.build.inputs.contents import Content, Contents
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.model import InputHash
from podbuild.oci.names import Digest
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue

_SCHEMA = 12


def input_hash(
    recipe: Recipe, *, engine: str, contents: Contents, git: str, inner: Mapping[Job, InputHash]
) -> InputHash:
    """Give the hash over everything that reaches the image.

    `engine` is kind and version; `git` is HEAD with the tags on it, an input where `.git` is
    sent; `inner` holds the hashes of the images it builds on.
    """
    sent = contents.of(recipe.context, recipe.matcher, recipe.wanted)
    extras = {
        name: contents.of(each.folder, each.matcher, each.wanted)
        for name, each in recipe.extras.items()
    }
    everything: dict[str, JSONValue] = {
        "schema": _SCHEMA,
        **decided_inputs(recipe),
        "engine": engine,
        "context": sent.digest,
        "git": git if sent.has_git else "",
        "folders": {name: content.digest for name, content in extras.items()},
        "inner": {name: inner[job].text for name, job in recipe.inner.here.items()},
        "pins": dict(recipe.pins),
        "base": recipe.asked_for,
        "unpinned": [*recipe.unpinned],
        "build": str(recipe.build) if _uses_build_platform(recipe) else "",
    }
    if across := recipe.inner.across:
        everything["across"] = {str(stage): inner[job].text for stage, job in across.items()}
    return InputHash(text=hashed(everything), never_again=_never_again(recipe, extras, inner))


def decided_inputs(recipe: Recipe) -> dict[str, JSONValue]:
    """Give the inputs that commit and configuration decide without a look at any file sent."""
    return {
        "platform": str(recipe.job.platform),
        "containerfile": hashlib.sha256(recipe.text.encode()).hexdigest(),
        "ignore": [*recipe.ignored],
        "target": recipe.target,
        "build-args": dict(recipe.build_args),
        "labels": dict(recipe.labels),
        "annotations": dict(recipe.annotations),
        "secrets": [*sorted(secret.id for secret in recipe.secrets)],
        "ssh": [*sorted(entry.partition("=")[0] for entry in recipe.ssh)],
        "network": recipe.network.value,
        "format": recipe.format.value,
        "compression": recipe.compression.value,
        "layers": recipe.layers,
        "instant": recipe.instant,
    }


def hashed(value: JSONValue) -> str:
    """Give the digest of a value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return str(Digest.of(text.encode()))


def _never_again(
    recipe: Recipe, extras: Mapping[str, Content], inner: Mapping[Job, InputHash]
) -> str:
    for instruction in recipe.parsed.unpinned(recipe.variables, target=recipe.target):
        return (
            f"{recipe.containerfile.name}:{instruction.line}: ADD fetches something that may "
            "change (no --checksum, no commit)"
        )
    for name in recipe.unpinned:
        return f"{name} is not pinned by a digest"
    for name, content in extras.items():
        if content.has_git:  # it may be another repository's, of which no commit is known
            return f"the context {name} sends its .git"
    for job in recipe.inner.jobs:
        if not inner[job].reusable:
            return f"it builds on {job.image}: {inner[job].never_again}"
    return ""


def _uses_build_platform(recipe: Recipe) -> bool:
    """Tell whether the result may depend on the machine that builds."""
    return any(name in recipe.text for name in ("BUILDPLATFORM", "BUILDARCH", "BUILDVARIANT"))
