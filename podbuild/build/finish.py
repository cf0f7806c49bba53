"""From what an engine delivered to the image that is published, before anyone knows a digest.

Engines build in docker format, which alone obeys and keeps SHELL, ONBUILD and HEALTHCHECK. What
leaves here is what BuildKit makes: one config for both formats, which differ in their media types
(moby's image spec v1.2 beside OCI's config.md). Layers stay the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from podbuild.build.image import compact, parse_config, read_config
from podbuild.build.inputs.containerfile import Stage
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.recipe import Recipe
from podbuild.config.choices import Format
from podbuild.errors import VerificationError
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest
from podbuild.oci.store import BytesBlob, Store
from podbuild.plan.labels import BASE_DIGEST, BASE_NAME
from podbuild.system.records import JSONValue, json_of, string_map

# What BuildKit writes; engines add what belongs to their machine or to their working container.
_KEYS = ("created", "author", "architecture", "variant", "os", "os.version", "os.features")
_CONFIG_KEYS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "ArgsEscaped",
    "Healthcheck",
    "OnBuild",
    "Shell",
)
_SHELL: list[JSONValue] = ["/bin/sh", "-c"]
_PORTS = re.compile(r"(\d+)-(\d+)(/\w+)?")
_FORMS = {
    Format.OCI: (MediaType.OCI_MANIFEST, MediaType.OCI_CONFIG),
    Format.DOCKER: (MediaType.DOCKER_MANIFEST, MediaType.DOCKER_CONFIG),
}
_LAYERS = {
    Format.OCI: "application/vnd.oci.image.layer.v1.tar",
    Format.DOCKER: "application/vnd.docker.image.rootfs.diff.tar",
}


def finished(store: Store, delivered: Manifest, recipe: Recipe, config: bytes = b"") -> Manifest:
    """Give the image as its recipe wants it, stored beside what was delivered.

    The same inputs give the same bytes. `config` is the engine's, where the delivered one has
    lost something. Raises VerificationError for what is no image.
    """
    said = parse_config(config, delivered.digest) if config else read_config(store, delivered)
    data = compact(_whole_config(said, recipe))
    kind, config_kind = _FORMS[recipe.format]
    blob = Descriptor(media_type=config_kind, digest=Digest.of(data), size=len(data))
    store.put_blob(blob, BytesBlob(data))
    content: dict[str, JSONValue] = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": blob.to_json(),
        "layers": [_layer(layer, recipe.format) for layer in delivered.layers],
    }
    if recipe.format is Format.OCI and (notes := {**_base(recipe), **recipe.annotations}):
        content["annotations"] = dict(sorted(notes.items()))
    image = Manifest(kind, compact(content))
    store.put_manifest(image)
    return image


def is_what_was_made(store: Store, delivered: Manifest, image: str, config: bytes) -> bool:
    """Tell whether a delivery is this image, or has its layers where `config` is what counts."""
    if delivered.config is None:
        return False
    if not config:
        return delivered.config.digest.hex == image
    made = parse_config(config, delivered.digest)
    return read_config(store, delivered).get("rootfs") == made.get("rootfs")


def _layer(layer: Descriptor, form: Format) -> JSONValue:
    name = layer.media_type
    packed = next((each for each in ("gzip", "zstd") if name.endswith(each)), "")
    mark = "." if form is Format.DOCKER else "+"
    kind = f"{_LAYERS[form]}{mark}{packed}" if packed else _LAYERS[form]
    return Descriptor(media_type=kind, digest=layer.digest, size=layer.size).to_json()


def _base(recipe: Recipe) -> Mapping[str, str]:
    """Name the base that the image starts from; one of this project's has no name yet."""
    pin, name = recipe.final_pin, recipe.final_base_name
    if pin is None or name is None:
        return {}
    return {BASE_NAME: name, BASE_DIGEST: pin.partition("@")[2]}


def _whole_config(said: Mapping[str, JSONValue], recipe: Recipe) -> dict[str, JSONValue]:
    inner = said.get("config")
    history = said.get("history")
    if not isinstance(said.get("rootfs"), dict):
        raise VerificationError(f"{recipe.job}: the engine's config names no layers")
    return {
        **{key: said[key] for key in _KEYS if said.get(key)},
        "config": _inner_config(inner if isinstance(inner, dict) else {}, recipe),
        "rootfs": said["rootfs"],
        "history": [_step(each) for each in history if isinstance(each, dict)]
        if isinstance(history, list)
        else [],
    }


def _step(entry: dict[str, JSONValue]) -> JSONValue:
    """Leave out what a base was called in the storage of who first made the step."""
    match entry:
        case {"comment": str(comment)} if comment.startswith("FROM "):
            return {key: value for key, value in entry.items() if key != "comment"}
        case _:
            return entry


def _inner_config(said: Mapping[str, JSONValue], recipe: Recipe) -> dict[str, JSONValue]:
    found = {key: said[key] for key in _CONFIG_KEYS if said.get(key)}
    labels: dict[str, JSONValue] = {**string_map(said.get("Labels")), **recipe.labels}
    if labels:
        found["Labels"] = dict(sorted(labels.items()))
    ports = found.get("ExposedPorts")
    if isinstance(ports, dict):
        single = (port for name in ports for port in _single_ports(name))
        found["ExposedPorts"] = {port: {} for port in sorted(single)}
    if isinstance(variables := found.get("Env"), list):
        found["Env"] = _in_order(variables, recipe)
    written = tuple(recipe.parsed.final_instructions(recipe.target, recipe.variables))
    for key in ("Cmd", "Entrypoint"):
        found |= _with_shell(key, found, written)
    if any(each.word in ("CMD", "ENTRYPOINT") for each in written):
        found["ArgsEscaped"] = True
    return {key: found[key] for key in _CONFIG_KEYS if key in found}


def _in_order(variables: list[JSONValue], recipe: Recipe) -> list[JSONValue]:
    """Keep each variable where it was set first; engines move what is set again to the end."""
    stage = recipe.parsed.needed(recipe.target, recipe.variables)[-1]
    kept = recipe.parsed.at_the_end(stage, recipe.variables).environment
    places = {name: place for place, name in enumerate(kept)}
    # what a trigger of the base has set comes after what the base has
    triggered = len(_of_the_base(recipe, stage)) - 0.5
    places["PATH"] = -2  # the first in every base, and in FROM scratch
    return sorted(variables, key=lambda each: places.get(str(each).partition("=")[0], triggered))


def _of_the_base(recipe: Recipe, stage: Stage) -> Mapping[str, str]:
    """Give the ENV of what the lowest stage starts from, as far as it is known."""
    parsed, variables = recipe.parsed, recipe.variables
    while below := parsed.earlier(stage, next(parsed.uses(stage, variables))):
        stage = below
    return parsed.inherited(stage, variables).environment


def _single_ports(name: str) -> Iterator[str]:
    """Give each port of a range.

    >>> list(_single_ports("8000-8002/udp"))
    ['8000/udp', '8001/udp', '8002/udp']
    """
    found = _PORTS.fullmatch(name)
    if not found:
        yield name.lower()
        return
    for port in range(int(found[1]), int(found[2]) + 1):
        yield f"{port}{found[3] or '/tcp'}"


def _with_shell(
    key: str, config: Mapping[str, JSONValue], written: tuple[Instruction, ...]
) -> dict[str, JSONValue]:
    """Let SHELL hold for CMD and ENTRYPOINT too: engines write /bin/sh whatever it says."""
    value = config.get(key)
    places = [at for at, each in enumerate(written) if each.word == key.upper()]
    if not places or _is_json(written[places[-1]].text):
        return {}
    if not isinstance(value, list) or value[:2] != _SHELL:
        return {}
    shells = [(at, each) for at, each in enumerate(written) if each.word == "SHELL"]
    before = [each for at, each in shells if at < places[-1]]
    shell = json_of(before[-1].text) if before else None if shells else config.get("Shell")
    return {key: [*(shell if isinstance(shell, list) else _SHELL), *value[2:]]}


def _is_json(text: str) -> bool:
    value = json_of(text)
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
