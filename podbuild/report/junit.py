"""The builds as a JUnit report: one case for each image and platform."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from podbuild.report import ImageReport, Report
from podbuild.ui.table import one_line


def junit_xml(report: Report) -> str:
    """Give logs/junit.xml; an image that was not made is a failure."""
    root = Element("testsuites", name="podbuild")
    for image in report.images:
        _suite(root, image, report)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(root: Element, image: ImageReport, report: Report) -> None:
    missing = image.digest is None
    suite = SubElement(
        root,
        "testsuite",
        name=_text(image.name),
        tests=str(len(image.platforms) + missing),
        failures=str(int(missing)),
        time=f"{sum(part.seconds for part in image.platforms):.3f}",
    )
    for part in image.platforms:
        case = SubElement(suite, "testcase", name=str(part.platform), time=f"{part.seconds:.3f}")
        case.set("classname", _text(image.name))
        SubElement(case, "system-out").text = _text(f"{part.origin}: {part.digest}")
    if missing:
        case = SubElement(suite, "testcase", name="all platforms", classname=_text(image.name))
        why = report.failure.message if report.failure else "not built"
        SubElement(case, "failure", message=_text(why))


def _text(value: str) -> str:
    """XML 1.0 has no place for most control characters and for lone surrogates."""
    known = "".join(sign for sign in value if sign not in "\ufffe\uffff")
    return one_line(known).encode("utf-8", "replace").decode()
