"""podbuild.env, for `artifacts:reports:dotenv` of GitLab CI."""

from __future__ import annotations

from collections.abc import Mapping

from podbuild.report.model import Report
from podbuild.system.console.text import one_line
from podbuild.system.later import dataclass

LIMIT = 5 * 1024  # bytes; GitLab refuses a longer file whole
# Not PODBUILD_VERSION and the like: later jobs inherit these variables, and podbuild's own
# options are read from PODBUILD_<OPTION>.
PREFIX = "RELEASE_"


@dataclass(frozen=True)
class Dotenv:
    """The content of the file, and what is missing from it and why."""

    text: str
    problems: tuple[str, ...] = ()


def dotenv(report: Report) -> Dotenv:
    """Give the variables that fit, the short ones first; lists are joined by commas."""
    kept: list[str] = []
    problems = []
    room = LIMIT
    for key, value in variables(report).items():
        clean = dotenv_value(value)
        line = f"{PREFIX}{key}={clean}\n"
        if not clean:
            continue
        if len(line.encode()) > room:
            problems.append(f"podbuild.env: {PREFIX}{key} is left out: GitLab reads 5 KiB at most")
            continue
        room -= len(line.encode())
        kept.append(line)
    return Dotenv("".join(kept), tuple(problems))


def variables(report: Report) -> Mapping[str, str]:
    """Give the variables without their prefix, the most important ones first."""
    made = [image for image in report.published_images if image.digest is not None]
    return {
        "RESULT": report.result.value,
        "VERSION": report.version,
        "TAG": report.tag,
        "PREVIOUS_TAG": report.previous_tag,
        "BRANCH": report.branch,
        "COMMIT": report.commit,
        "DIGEST": str(made[0].digest) if len(made) == 1 else "",
        "PLATFORMS": ",".join(map(str, report.platforms)),
        "CACHE_HIT": "true" if report.cache_hit else "false",
        "BUILD_DURATION": f"{report.seconds:.0f}",
        "TAG_NAMES": ",".join(report.tag_names),
        "TAGS": ",".join(report.references),
        "DIGESTS": ",".join(f"{image.name}={image.digest}" for image in made),
    }


def dotenv_value(text: str) -> str:
    r"""Give text as GitLab keeps it: one line, nothing that it would expand.

    >>> dotenv_value(' a"b\n$HOME ')
    'a"b _HOME'
    """
    return one_line(text).replace("$", "_")
