"""What GitLab CI reads: podbuild.env (`artifacts:reports:dotenv`), the builds as a JUnit report.

One case for each image and platform, and one for the release. A case fails by its own fault alone;
what was not made because of another is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from podbuild.build.model import TrialOutcome, TrialResult
from podbuild.errors import CleanupError
from podbuild.report.model import ImageReport, Report
from podbuild.system.console.text import one_line
from podbuild.system.later import dataclass


def junit_xml(report: Report) -> str:
    """Give logs/junit.xml."""
    root = Element("testsuites", name="podbuild")
    for image in report.images:
        _suite(root, image, report)
    failure = report.failure
    told = report.faults or report.failed_tests
    if failure and not told and failure.exit_code != CleanupError.exit_code:
        suite = SubElement(root, "testsuite", name="podbuild", tests="1", failures="1")
        case = SubElement(suite, "testcase", name=_text(report.name), classname="podbuild")
        SubElement(case, "failure", message=_text(failure.message))
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(root: Element, image: ImageReport, report: Report) -> None:
    faults = {job.platform: why for job, why in report.faults.items() if job.image == image.name}
    # Of a release that stands, an image without a digest was not needed.
    made = image.digest is not None or (image.platforms and not image.published)
    skipped = not made and not faults and report.failure is not None
    tests = [each for each in report.tests if each.job.image == image.name]
    outcomes = [each.outcome for each in tests]
    seconds = sum(each.seconds for each in image.platforms) + sum(each.seconds for each in tests)
    suite = SubElement(
        root,
        "testsuite",
        name=_text(image.name),
        tests=str(len(image.platforms) + len(faults) + skipped + len(tests)),
        failures=str(len(faults) + outcomes.count(TrialOutcome.FAILED)),
        skipped=str(skipped + outcomes.count(TrialOutcome.SKIPPED)),
        time=f"{seconds:.3f}",
    )
    for part in image.platforms:
        case = _case(suite, image, str(part.platform))
        case.set("time", f"{part.seconds:.3f}")
        SubElement(case, "system-out").text = _text(f"{part.origin}: {part.digest}")
    for platform, why in sorted(faults.items()):
        SubElement(_case(suite, image, str(platform)), "failure", message=_text(why))
    for test in tests:
        _test(suite, test)
    if skipped:
        SubElement(_case(suite, image, "all platforms"), "skipped", message="not finished")


def _test(suite: Element, test: TrialResult) -> None:
    case = SubElement(
        suite,
        "testcase",
        name=_text(f"{test.name} ({test.job.platform})"),
        classname=_text(f"{test.job.image}.tests"),
        time=f"{test.seconds:.3f}",
    )
    match test.outcome:
        case TrialOutcome.FAILED:
            failure = SubElement(case, "failure", message=_text(test.why))
            failure.text = "\n".join(map(_text, test.tail))
        case TrialOutcome.SKIPPED:
            SubElement(case, "skipped", message=_text(test.why))
        case TrialOutcome.PASSED if test.earlier:
            SubElement(case, "system-out").text = "passed by the same image before"
        case TrialOutcome.PASSED:
            pass


def _case(suite: Element, image: ImageReport, name: str) -> Element:
    return SubElement(suite, "testcase", name=name, classname=_text(image.name))


def _text(value: str) -> str:
    """XML 1.0 has no place for most control characters and for lone surrogates."""
    known = "".join(sign for sign in value if sign not in "\ufffe\uffff")
    return one_line(known).encode("utf-8", "replace").decode()


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
