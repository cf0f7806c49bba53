"""Build secrets: found before anything is built, handed to the engine without touching a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.config.image import Secret
from podbuild.errors import CredentialError
from podbuild.plan.model import PlannedImage

_LONGEST = 100_000  # bytes of one environment variable; Linux takes 128 KiB with its name


@dataclass(frozen=True, kw_only=True)
class BuildSecret:
    """One secret: its value, or the file of one that no environment variable can hold."""

    value: str | None = field(default=None, repr=False)
    file: Path | None = None


@dataclass(frozen=True)
class BuildSecrets:
    """The secrets of all images."""

    known: Mapping[Secret, BuildSecret] = field(default_factory=dict, repr=False)

    def options(self, secrets: Iterable[Secret]) -> Mapping[str, str]:
        """Give what the engine's --secret says of each: `env=NAME` or `src=FILE`."""
        return {
            secret.id: f"src={self.known[secret].file}"
            if self.known[secret].value is None
            else f"env={_variable(at)}"
            for at, secret in enumerate(secrets)
        }

    def environment(self, secrets: Iterable[Secret]) -> Mapping[str, str]:
        """Give the variables that hold the values, for the engine's process alone."""
        found = ((_variable(at), self.known[secret].value) for at, secret in enumerate(secrets))
        return {name: value for name, value in found if value is not None}

    def large(self, secrets: Iterable[Secret]) -> frozenset[str]:
        """Give the ids of those that no variable can hold."""
        return frozenset(secret.id for secret in secrets if self.known[secret].file)

    def content(self, id_: str, secrets: Iterable[Secret]) -> bytes:
        """Give a large one's bytes; raises CredentialError where its file is gone by now."""
        file = next(
            found for each in secrets if each.id == id_ and (found := self.known[each].file)
        )
        try:
            return file.read_bytes()
        except OSError as error:
            raise CredentialError(
                f"build secret {id_!r}: can't read {file}: {error.strerror}",
                hint="leave it there while podbuild runs",
            ) from None


def find_secrets(
    images: Iterable[PlannedImage],
    environment: Mapping[str, str],
    *,
    on_value: Callable[[str], None],
) -> BuildSecrets:
    """Find the secrets of these images; `on_value` hears each value, so that logs are cut.

    Raises CredentialError naming what is missing or empty.
    """
    found: dict[Secret, BuildSecret] = {}
    for image in images:
        for secret in image.image.secrets:
            if secret not in found:
                found[secret] = _find(image.name, secret, environment)
                on_value(_text(found[secret]))
    return BuildSecrets(found)


def _find(image: str, secret: Secret, environment: Mapping[str, str]) -> BuildSecret:
    if secret.file is None:
        value = environment.get(secret.env or "", "")
        if not value:
            state = "empty" if secret.env in environment else "not set"
            raise CredentialError(
                f"build secret {secret.id!r} of image {image!r}: {secret.env} is {state}",
                hint=f"set {secret.env}; jobs for pull requests from forks get no secrets",
            )
        return BuildSecret(value=value)
    try:
        data = secret.file.read_bytes()
    except OSError as error:
        raise CredentialError(
            f"build secret {secret.id!r} of image {image!r}: can't read {secret.file}: "
            f"{error.strerror}",
            hint="put the secret there, or name an environment variable with env",
        ) from None
    if b"\0" in data or len(data) > _LONGEST:
        return BuildSecret(file=secret.file)
    return BuildSecret(value=data.decode("utf-8", "surrogateescape"))


def _text(secret: BuildSecret) -> str:
    if secret.file is None:
        return secret.value or ""
    return secret.file.read_text("utf-8", "replace")


def _variable(at: int) -> str:
    return f"PODBUILD_BUILD_SECRET_{at}"
