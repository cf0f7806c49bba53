"""Replace the placeholders of contexts: when the configuration is read, and when a plan is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from podbuild.config.checks import check_contexts
from podbuild.config.choices import ALWAYS_KNOWN, Context, OpenContext
from podbuild.config.image import Image
from podbuild.config.keys import Invalid
from podbuild.config.model import Config
from podbuild.config.template import Placeholders
from podbuild.config.toml import dotted, line_of, read_config, shown
from podbuild.errors import ConfigError, PodbuildError


def located(wrong: Invalid, config: Config) -> ConfigError:
    """Give what is wrong with the file, line and key that say so."""
    text = read_config(config.path) if config.path.is_file() else ""
    line = line_of(text, wrong.path)
    message = f"{shown(config.path)}:{line}: {dotted(wrong.path)}: {wrong.message}"
    return ConfigError(message, hint=wrong.hint)


def close_known(config: Config) -> Config:
    """Replace what the project and the environment tell; raises Invalid.

    What a variable that is not set, or a plan, would tell stays open.
    """
    known = ALWAYS_KNOWN | {f"env.{name}" for name in config.env}
    return _closed(
        config, lambda image: _values(config, image), lambda each: each.template.names <= known
    )


def close_contexts(config: Config, values: Callable[[str], Placeholders]) -> Config:
    """Replace all that is open; raises ConfigError with file, line and key.

    `values` are those of an image, by its name.
    """
    try:
        return _closed(config, lambda image: values(image.name), lambda _: True)
    except Invalid as wrong:
        raise located(wrong, config) from None


def without_unset(config: Config) -> Config:
    """Leave out the contexts that wait for a variable, for what only looks at the rest."""
    unset = {(image.name, name) for image, name, _ in _unset(config)}

    def known(image: Image) -> Image:
        kept = {
            name: each for name, each in image.contexts.items() if (image.name, name) not in unset
        }
        return replace(image, contexts=kept)

    return replace(config, images=tuple(map(known, config.images))) if unset else config


def without_texts(config: Config) -> Config:
    """Leave out the images' texts, and what is open, for what only asks where images are."""

    def bare(image: Image) -> Image:
        closed = {
            name: each for name, each in image.contexts.items() if not isinstance(each, OpenContext)
        }
        return replace(image, build_args={}, labels={}, annotations={}, contexts=closed)

    return replace(config, images=tuple(map(bare, config.images)))


def unset_variables(config: Config) -> Iterator[ConfigError]:
    """Give what is said of each context that waits for a variable that is not set."""
    for image, name, context in _unset(config):
        try:
            context.closed(_values(config, image))
        except PodbuildError as error:
            way = ("images", image.name, "contexts", name)
            yield located(Invalid(error.message, hint=error.hint, path=way), config)


def _unset(config: Config) -> Iterator[tuple[Image, str, OpenContext]]:
    for image in config.images:
        for name, context in image.contexts.items():
            if isinstance(context, OpenContext) and context.template.variables - config.env.keys():
                yield image, name, context


def _values(config: Config, image: Image) -> Placeholders:
    return Placeholders(
        project=config.project.name, image=image.name, sha="0" * 7, branch="b", env=config.env
    )


def _closed(
    config: Config,
    values: Callable[[Image], Placeholders],
    is_known: Callable[[OpenContext], bool],
) -> Config:
    def one(image: Image, name: str, context: Context | OpenContext) -> Context | OpenContext:
        if not isinstance(context, OpenContext) or not is_known(context):
            return context
        try:
            return context.closed(values(image))
        except (Invalid, PodbuildError) as wrong:
            way = ("images", image.name, "contexts", name)
            raise Invalid(wrong.message, hint=wrong.hint, path=way) from None

    def all_of(image: Image) -> Image:
        if not any(isinstance(each, OpenContext) for each in image.contexts.values()):
            return image
        contexts = {name: one(image, name, each) for name, each in image.contexts.items()}
        return replace(image, contexts=contexts)

    images = tuple(map(all_of, config.images))
    if images == config.images:
        return config
    found = replace(config, images=images)
    check_contexts(found)
    return found
