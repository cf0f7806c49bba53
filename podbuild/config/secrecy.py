"""What a configuration names is there before a build, and no text of it gives a secret away.

Files, images and platforms are looked for; texts that are published or go to an argv are searched.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from podbuild.config.choices import FolderContext
from podbuild.config.image import Image
from podbuild.config.keys import Invalid
from podbuild.config.model import Config
from podbuild.config.template import Template
from podbuild.config.toml import read_source, shown
from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.auth.credentials import token_variables
from podbuild.system.later import dataclass
from podbuild.system.redact import ORDINARY, Redactor, holds_secret, is_secret_name
from podbuild.system.redact.forms import SHORTEST


def require_inputs(images: Iterable[Image]) -> None:
    """Raise ConfigError for the first file or folder that an image needs and that is missing."""
    for image in images:
        for _, problem in missing_inputs(image):
            raise problem


def missing_inputs(image: Image) -> Iterator[tuple[tuple[str, ...], ConfigError]]:
    """Give what is not there, each with the way from the image's table to the key that names it."""
    name = f"image {image.name!r}"
    if not image.context.is_dir():
        yield (
            ("context",),
            ConfigError(
                f"{name}: there is no folder {shown(image.context)}", hint="context names a folder"
            ),
        )
    files = {"containerfile": image.containerfile, "ignorefile": image.ignorefile}
    hints = {
        "containerfile": "write it, or name another one with containerfile",
        "ignorefile": "ignorefile names a file",
    }
    for key, path in files.items():
        if path is not None and not path.is_file():
            file = shown(path)
            what = f"{file} is a folder, not a file" if path.is_dir() else f"there is no {file}"
            yield (key,), ConfigError(f"{name}: {what}", hint=hints[key])
    for wanted, context in image.contexts.items():
        if isinstance(context, FolderContext) and not context.path.is_dir():
            yield (
                ("contexts", wanted),
                ConfigError(
                    f"{name}: there is no folder {shown(context.path)}, the context {wanted!r}",
                    hint="contexts are folders, image:NAME or docker-image://REFERENCE",
                ),
            )


def names_platforms(image: Image) -> bool:
    """Tell whether FROM may take an image for another platform than the one that is built."""
    try:
        return bool(image.inner) and "--platform" in read_source(image.containerfile)
    except ConfigError:  # told where the file is needed
        return False


def check_commands(config: Config) -> None:
    """Raise Invalid where [[checks]] name what is not there, or share one name."""
    images = {each.name: each for each in config.images}
    titles = Counter(each.title for each in config.checks)
    for place, command in enumerate(config.checks):
        way: Way = ("checks", place)
        if titles[command.title] > 1:
            raise Invalid(
                f"two checks are named {command.title!r}",
                hint='give each a name of its own, such as name = "licences"',
                path=(*way, "name" if command.name else "run"),
            )
        for at, name in enumerate(command.images):
            if name not in images:
                near = difflib.get_close_matches(name, images, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(images)}"
                raise Invalid(f"unknown image {name!r}", hint=hint, path=(*way, "images", at))
        chosen = [images[name] for name in command.images or images]
        for at, platform in enumerate(command.platforms):
            if all(platform not in image.platforms for image in chosen):
                raise Invalid(
                    f"none of its images is built for {platform}", path=(*way, "platforms", at)
                )


def check_tests(image: Image) -> None:
    """Raise Invalid for tests of what is not published, or not built for that platform."""
    if image.tests and not image.publish:
        raise Invalid(
            "an image with publish = false is not tried by itself",
            hint="write the test for an image that is built on it",
            path=("images", image.name, "tests"),
        )
    for place, test in enumerate(image.tests):
        for at, platform in enumerate(test.platforms):
            if platform not in image.platforms:
                raise Invalid(
                    f"the image is not built for {platform}",
                    hint=f"it is built for: {', '.join(map(str, image.platforms))}",
                    path=("images", image.name, "tests", place, "platforms", at),
                )


Way = tuple[str | int, ...]
Logins = Callable[[], Iterable[str]]

_IN_IMAGES = frozenset({"build-args", "labels", "annotations"})
_PUBLIC = frozenset({"labels", "annotations"})  # their URLs are for everybody
_NO_TEMPLATES = frozenset({"project"})  # its texts are taken as they stand
_UNLIKELY = 16  # characters of a secret that stands in a longer text by no accident


@dataclass(frozen=True, kw_only=True)
class Secrecy:
    """Tells what is secret here: by a variable's name, by what else names it, by its value."""

    environment: Mapping[str, str]
    named: frozenset[str]  # variables of build secrets and logins, whatever they are called
    values: frozenset[str]

    @cached_property
    def _redactor(self) -> Redactor:
        found = Redactor()
        for value in self.values:
            if len(value) >= _UNLIKELY:
                found.add(value)
        return found

    @classmethod
    def of(cls, config: Config, environment: Mapping[str, str], logins: Logins) -> Secrecy:
        """Collect what this configuration and environment know as secret."""
        named = {*secret_variables(config)}
        known = {environment[name] for name in environment if holds_secret(name)}
        known |= {environment[name] for name in named & environment.keys()} | {*logins()}
        values = {value.strip() for value in known}
        return cls(
            environment=environment,
            named=frozenset(named),
            values=frozenset(
                each for each in values if len(each) >= SHORTEST and each.lower() not in ORDINARY
            ),
        )

    def tells(self, variable: str) -> bool:
        """Tell whether a text with this variable would show a secret."""
        value = self.environment.get(variable, "")
        return (
            variable in self.named
            or is_secret_name(variable)
            or value.strip() in self.values
            or self.holds(value)
            or _has_login(value)
            or bool(_ISSUED.search(value))
        )

    def holds(self, text: str) -> bool:
        """Tell whether a secret of this environment stands in a text, plain or encoded."""
        if len(text) < _UNLIKELY:
            return False
        if any(value in text for value in self.values if len(value) >= _UNLIKELY):
            return True
        return self._redactor.cut(text) != _NOTHING.cut(text)


def secret_variables(config: Config) -> frozenset[str]:
    """Give the variables that build secrets, logins of registries, keys and webhooks are in."""
    named = {secret.env for image in config.images for secret in image.secrets if secret.env}
    named |= {token_variables(registry.name)[1] for registry in config.registries}
    sign = config.attest.sign if config.attest else None
    kind, _, key = sign.private.partition(":") if sign and sign.private else ("", "", "")
    named |= {config.notify.webhook_env, key if kind == "env" else ""}
    return frozenset(named - {""})


def without_secrets(
    config: Config, environment: Mapping[str, str], needed: Iterable[str] = ()
) -> dict[str, str]:
    """Give the environment of a command of the user's: no secrets but those that are `needed`."""
    secret, wanted = secret_variables(config), {*needed}
    return {
        name: value
        for name, value in environment.items()
        if name in wanted or not (holds_secret(name) or name in secret)
    }


# How tokens begin by which their issuers let scanners find them, JSON Web Tokens and keys.
_ISSUED = re.compile(
    r"\b(?:gh[opsur]_|github_pat_|glpat-|dckr_[op]at_|npm_|pypi-|xox[abprs]-|hvs\.)[\w-]{16}"
    r"|\beyJ[\w-]+\.eyJ[\w-]+\.|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_NOTHING = Redactor()  # cuts what is a secret by where it stands


def _has_login(text: str) -> bool:
    return _NOTHING.cut(text) != text


def refuse_secrets(
    config: Config, document: Mapping[str, object], environment: Mapping[str, str], logins: Logins
) -> None:
    """Raise Invalid for the first text with a secret in it.

    `logins` gives secrets that files of logins hold; it is asked only where a text has variables.
    """
    texts = tuple(_texts(document, ()))
    used = any(_variables(way, text) for way, text in texts)
    secrecy = Secrecy.of(config, environment, logins if used else tuple)
    for way, text in texts:
        told = next((name for name in _variables(way, text) if secrecy.tells(name)), "")
        where = "in the image" if _IN_IMAGES & {*way} else "where images are published"
        if told:
            raise Invalid(
                f"{told} is a secret and would be readable {where}",
                hint="RUN --mount=type=secret reads it where secrets = [...] names it"
                if _IN_IMAGES & {*way}
                else "write the value itself, or take a variable that holds no secret",
                path=way,
            )
        if secrecy.holds(text) or (_PUBLIC & {*way} and _has_login(text)):
            raise Invalid(
                f"a secret stands here and would be readable {where}",
                hint="take it out of the file, and replace it where it was valid",
                path=way,
            )


def refuse_secret_arguments(
    config: Config, environment: Mapping[str, str], arguments: Mapping[str, str]
) -> None:
    """Raise ConfigError for a build argument of the command line whose value is a secret."""
    secrecy = Secrecy.of(config, environment, tuple) if arguments else None
    for name, value in arguments.items():
        if secrecy and (value.strip() in secrecy.values or secrecy.holds(value)):
            raise ConfigError(
                f"--build-arg {name}: its value is a secret of this environment and would be "
                "readable in the image",
                hint="--secret id=ID,env=NAME gives it to RUN --mount=type=secret alone",
            )


def _texts(value: object, way: Way) -> Iterator[tuple[Way, str]]:
    match value:
        case str():
            yield way, value
        case dict():
            for name, item in value.items():
                yield from _texts(item, (*way, name))
        case list():
            for place, item in enumerate(value):
                yield from _texts(item, (*way, place))
        case _:
            return


def _variables(way: Way, text: str) -> tuple[str, ...]:
    """Give the variables of a text that may be a template, sorted."""
    if "{env." not in text or way[0] in _NO_TEMPLATES:
        return ()
    try:
        return tuple(sorted(Template(text).variables))
    except PodbuildError:  # a text that is taken as it stands, such as a regular expression
        return ()
