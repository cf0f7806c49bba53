"""What is tried in an image of one platform, and how it went.

Pure: config and tests in, orders out. HEALTHCHECK as docker means it (moby's image spec v1.2).
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from podbuild.config.image import Image
from podbuild.config.trials import Healthcheck, ImageTest
from podbuild.oci.names import Digest
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue

FORM = 1  # of the trials: raised where the same image may be judged otherwise
SLOWER = 5.0  # an emulated platform gets this much more time

_NANO = 1e-9  # docker's durations, in seconds
_INTERVAL, _TIMEOUT, _RETRIES = 30.0, 30.0, 3  # docker's, where nothing is said
_LEAST = 30.0  # seconds that a HEALTHCHECK has in any case
_EVERY = 0.2  # seconds between two questions over HTTP, or two looks at what was said
_HEALTH_EVERY = 0.5  # between two commands
_SHOWN = 60  # characters of a command


@dataclass(frozen=True, kw_only=True)
class ImageTrial:
    """One trial of one image: `order` is what `programs/trial.py` is asked, but for paths.

    `test` is the place of the test in the configuration; None: the image's HEALTHCHECK.
    """

    job: Job
    name: str
    slug: str  # of its log
    key: str  # the same for the same trial of the same image, wherever it is made
    order: Mapping[str, JSONValue] = field(hash=False)
    stdin: str = ""
    test: int | None = None

    def timed(self, *, emulated: bool) -> dict[str, JSONValue]:
        """Give the order with the time that it has here."""
        longer = SLOWER if emulated else 1.0
        return {
            name: value * longer if name in ("within", "timeout") else value  # type: ignore[operator]
            for name, value in self.order.items()
        }


def trials_of(
    image: Image, job: Job, digest: Digest, config: Mapping[str, JSONValue]
) -> Iterator[ImageTrial]:
    """Give what is tried in an image with this config (the inner one), in order."""
    wanted = image.healthcheck is Healthcheck.AUTO and image.publish and started(config)
    if wanted and (asked := _health(config)):
        yield _trial(job, digest, "HEALTHCHECK", "healthcheck", asked)
    for place, test in enumerate(image.tests):
        if not test.platforms or job.platform in test.platforms:
            order = _asked(test, config)
            slug = f"test-{place + 1}"
            yield _trial(job, digest, test_name(test), slug, order, stdin=test.stdin, test=place)


def test_name(test: ImageTest) -> str:
    """Say a test for people.

    >>> test_name(ImageTest(run=("app", "--version")))
    'run app --version'
    """
    if test.http:
        return f"GET {test.http}"
    if test.start:
        return f"start, match {test.match}"
    text = f"run {shlex.join(test.run)}".replace("\n", " ")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _trial(
    job: Job,
    digest: Digest,
    name: str,
    slug: str,
    order: Mapping[str, JSONValue],
    *,
    stdin: str = "",
    test: int | None = None,
) -> ImageTrial:
    said = json.dumps([FORM, str(digest), order, stdin], sort_keys=True)
    return ImageTrial(
        job=job,
        name=name,
        slug=slug,
        key=hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest(),
        order=order,
        stdin=stdin,
        test=test,
    )


def process(
    config: Mapping[str, JSONValue],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    user: str = "",
) -> dict[str, JSONValue]:
    """Give one process of an image: what runs, for whom, where, with which variables."""
    pairs = (entry.partition("=") for entry in texts(config, "Env"))
    said: dict[str, JSONValue] = {name: value for name, _, value in pairs}
    said.update(env or {})
    return {
        "argv": [*argv],
        "env": said,
        "user": user or _text(config, "User"),
        "cwd": _text(config, "WorkingDir"),
        "stdin": "",
    }


def _asked(test: ImageTest, config: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    argv = test.run or started(config)
    url = urlsplit(test.http)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return {
        "start": test.start,
        "processes": [process(config, argv, env=test.env, user=test.user)],
        "ask": "http" if test.http else "match",
        "http": [url.hostname, url.port or 80, path, test.http] if test.http else None,
        "status": test.status,
        "match": test.match,
        "within": test.within,
        "timeout": test.within,
        "every": _EVERY,
    }


def started(config: Mapping[str, JSONValue]) -> tuple[str, ...]:
    """Give what an image starts."""
    return (*texts(config, "Entrypoint"), *texts(config, "Cmd"))


def _health(config: Mapping[str, JSONValue]) -> dict[str, JSONValue] | None:
    health = config.get("Healthcheck")
    said = health if isinstance(health, dict) else {}
    words = texts(said, "Test")
    argv: tuple[str, ...]
    match words:
        case ("CMD", str(first), *rest):
            argv = (first, *rest)
        case ("CMD-SHELL", str(command)):
            argv = (*(texts(config, "Shell") or ("/bin/sh", "-c")), command)
        case _:
            return None
    within = _seconds(said, "StartPeriod", 0.0) + _retries(said) * _seconds(
        said, "Interval", _INTERVAL
    )
    return {
        "start": True,
        "processes": [process(config, started(config)), process(config, argv)],
        "ask": "health",
        "http": None,
        "status": 0,
        "match": "",
        "within": max(_LEAST, within),
        "timeout": _seconds(said, "Timeout", _TIMEOUT),
        "every": _HEALTH_EVERY,
    }


def _seconds(health: Mapping[str, JSONValue], name: str, usual: float) -> float:
    value = health.get(name)
    return value * _NANO if isinstance(value, int) and value > 0 else usual


def _retries(health: Mapping[str, JSONValue]) -> int:
    value = health.get("Retries")
    return value if isinstance(value, int) and value > 0 else _RETRIES


def _text(config: Mapping[str, JSONValue], name: str) -> str:
    value = config.get(name)
    return value if isinstance(value, str) else ""


def texts(config: Mapping[str, JSONValue], name: str) -> tuple[str, ...]:
    """Give a list of strings that a config has, such as Env; empty where it has none."""
    value = config.get(name)
    return tuple(map(str, value)) if isinstance(value, list) else ()
