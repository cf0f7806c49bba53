"""What podbuild wrote into the output folder, told from what others did."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.ignore import Matcher, own_patterns
from podbuild.config.output import foreign_names, remove_torn

OURS = '{"schema": 1, "images": []}'


def write(output: Path, name: str, text: str = "") -> None:
    path = output / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "foreign"),
    [
        ("metadata.json", '{"project_name": "x"}', ["metadata.json"]),  # goreleaser's
        ("artifacts.json", "[]", ["artifacts.json"]),
        ("plan.json", "not JSON", ["plan.json"]),
        ("plan.json", OURS, []),
        ("state.json", OURS, []),
        ("summary.md", "# mine", ["summary.md"]),
        ("logs/app.log", "", ["logs"]),
        ("logs/web-linux-amd64.log", "", []),
        ("logs/web-linux-arm-v7.log", "", []),
        ("logs/junit.xml", "", []),
        ("logs/.junit.xml.4ec7cf0d38660dce.part", "", []),  # a run that was killed
        ("logs/.mine.4ec7cf0d38660dce.part", "", ["logs"]),
        ("statements/web.signature.sigstore.json", "", []),
        ("statements/.web.signature.sigstore.json.4ec7cf0d38660dce.part", "", []),
        ("statements/mine.json", "", ["statements"]),
        ("registry/users.js", "", ["registry"]),
        ("registry/web/oci-layout", "", []),
        ("registry/acme/web/oci-layout", "", []),
        ("staging/index.html", "", ["staging"]),
        ("staging/oci-layout", "", []),
        ("app.js", "", []),
    ],
)
def test_what_podbuild_wrote_is_known_by_what_it_holds(
    tmp_path: Path, name: str, text: str, foreign: list[str]
) -> None:
    write(tmp_path, name, text)
    assert list(foreign_names(tmp_path)) == foreign


def test_texts_are_podbuilds_beside_a_record_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "summary.md", "text")
    write(tmp_path, "metadata.json", OURS)
    assert list(foreign_names(tmp_path)) == []


def test_contexts_lose_only_what_podbuild_wrote(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    for name, text in (
        ("registry/users.js", ""),
        ("logs/app.js", ""),
        ("metadata.json", '{"project_name": "x"}'),
        ("plan.json", OURS),
        ("staging/oci-layout", ""),
    ):
        write(output, name, text)
    matcher = Matcher(own_patterns(tmp_path, output))
    kept = ("dist/registry/users.js", "dist/logs/app.js", "dist/metadata.json")
    assert not any(map(matcher.excludes, kept))
    assert matcher.excludes("dist/plan.json")
    assert matcher.excludes("dist/staging/oci-layout")


def test_files_beside_the_logs_are_sent_and_the_logs_are_not(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    write(output, "logs/mine.txt")
    write(output, "logs/web-linux-amd64.log")
    matcher = Matcher(own_patterns(tmp_path, output))
    assert not matcher.excludes("dist/logs/mine.txt")
    assert matcher.excludes("dist/logs/web-linux-amd64.log")


def test_what_a_killed_run_was_writing_is_left_out_and_removed(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    torn = (
        ".state.json.4ec7cf0d38660dce.part",
        ".state-v1.2.3.json.4ec7cf0d38660dce.part",
        ".summary.md.0000000000000000.part",
        "logs/.web-linux-amd64.log.4ec7cf0d38660dce.part",
    )
    kept = (
        ".mine.json.4ec7cf0d38660dce.part",  # no name of podbuild's
        ".state.json.4ec7cf0d.part",
        ".state.json.4EC7CF0D38660DCE.part",
        "state.json.4ec7cf0d38660dce.part",
        ".state.json.4ec7cf0d38660dce.part.txt",
        "sub/.state.json.4ec7cf0d38660dce.part",
        "logs/mine.txt",
    )
    for name in (*torn, *kept):
        write(output, name)
    (output / ".plan.json.4ec7cf0d38660dce.part").mkdir()
    for context in (tmp_path, output):
        matcher = Matcher(own_patterns(context, output))
        prefix = "dist/" if context == tmp_path else ""
        assert {name for name in (*torn, *kept) if matcher.excludes(prefix + name)} == {*torn}
    remove_torn(output)
    assert not any((output / name).exists() for name in torn)
    assert all((output / name).exists() for name in kept)
    remove_torn(tmp_path / "nowhere")
