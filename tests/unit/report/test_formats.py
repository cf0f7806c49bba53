from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.build.model import LayerSize, Metrics, Origin, StepTime
from podbuild.config.output import OUTPUT_NAMES
from podbuild.config.trials import Growth, SizeBudget
from podbuild.oci.delete import RemovalKind
from podbuild.oci.names import Digest, Platform, RegistryKind, Tag
from podbuild.plan.model import Job
from podbuild.report.github import LIMIT as OUTPUT_LIMIT
from podbuild.report.github import entry, github_outputs, outputs
from podbuild.report.gitlab import LIMIT as DOTENV_LIMIT
from podbuild.report.gitlab import dotenv, dotenv_value, junit_xml
from podbuild.report.json import artifacts_json, digests_txt, metadata_json, metrics_json
from podbuild.report.markdown import LIMIT, code, cut, summary_markdown, text
from podbuild.report.model import (
    Failure,
    ImageReport,
    Phase,
    PlatformReport,
    ReleaseResult,
    RemovalReport,
    Report,
    TagOutcome,
    TagReport,
    TargetReport,
)
from podbuild.report.text import report_text, run_line
from podbuild.report.write import write_plan, write_reports
from podbuild.system.redact import Redactor

GOLDEN = Path(__file__).parents[2] / "golden"
AMD64 = Platform.parse("linux/amd64")
ARM64 = Platform.parse("linux/arm64")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def image(
    name: str, *, published: bool = True, platforms: tuple[Platform, ...] = (AMD64, ARM64)
) -> ImageReport:
    parts = tuple(
        PlatformReport(
            platform=platform,
            digest=digest(f"{name} {platform}"),
            size=35_249_000,
            seconds=12.34 if platform == ARM64 else 3.0,
            origin=Origin.BUILT if platform == ARM64 else Origin.REUSED,
            reason="Containerfile changed" if platform == ARM64 else "same inputs as 1.2.2",
        )
        for platform in platforms
    )
    several = len(platforms) > 1
    return ImageReport(
        name=name,
        digest=digest(name) if several else parts[0].digest,
        is_index=several,
        published=published,
        platforms=parts,
    )


def target(registry: str, kind: str, repository: str, name: str, **settings: str) -> TargetReport:
    tags = (
        tag_report(repository, "1.2.3", TagOutcome.MOVED),
        tag_report(repository, "1.2", TagOutcome.ALREADY),
        tag_report(repository, "latest", TagOutcome.SKIPPED, reason="2.0.0 is higher"),
    )
    error = settings.get("error", "")
    return TargetReport(
        registry=registry,
        kind=RegistryKind(kind),
        repository=repository,
        image=name,
        required=not error,
        tags=() if error else tags,
        bytes_sent=0 if error else 1_000_000,
        error=error,
    )


def tag_report(repository: str, tag: str, outcome: TagOutcome, reason: str = "") -> TagReport:
    return TagReport(tag=Tag(tag), reference=f"{repository}:{tag}", outcome=outcome, reason=reason)


REPORT = Report(
    project="shop",
    result=ReleaseResult.PUBLISHED,
    commit="0123456789abcdef0123456789abcdef01234567",
    date=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    version="1.2.3",
    tag="v1.2.3",
    previous_tag="v1.2.2",
    podbuild="0.1.0",
    engine="buildah 1.43.1",
    images=(image("base", published=False), image("web"), image("worker", platforms=(ARM64,))),
    targets=(
        target("here", "layout", "oci:dist/registry/web", "web"),
        target("ghcr", "ghcr", "ghcr.io/acme/web", "web"),
        target("ghcr", "ghcr", "ghcr.io/acme/worker", "worker"),
        target("hub", "dockerhub", "docker.io/acme/web", "web"),
        target("hub", "dockerhub", "docker.io/acme/worker", "worker", error="503 for 2 minutes"),
    ),
    metrics={
        Job("web", ARM64): Metrics(
            seconds=12.3456,
            cpu_seconds=20.0,
            peak_memory=150_000_000,
            context_bytes=1000,
            steps=8,
            cached_steps=5,
            pulled_steps=4,
            pushed_steps=3,
            layer_bytes=35_000_000,
            retries=1,
            times=(
                StepTime(line=4, text="RUN a && b | c", seconds=9.25),
                StepTime(line=None, text=f"RUN {'long ' * 20}", seconds=2.0, cached=True),
            ),
        ),
    },
    phases=(Phase(name="build", seconds=12.5), Phase(name="publish", seconds=3.25)),
    layers={
        Job("web", ARM64): (
            LayerSize(file="Containerfile", line=1, text="FROM debian", size=30_000_000, base=True),
            LayerSize(file="Containerfile", line=4, text="RUN a && b | c", size=9_000_000),
            LayerSize(file="Containerfile", line=7, text="COPY <<EOF /x", size=1_000_000),
        )
    },
    budgets={"web": SizeBudget(size=45_000_000, growth=Growth("10%"))},
    removed=(
        RemovalReport(repository="ghcr.io/acme/web", what="sha256:ab", outcome=RemovalKind.REMOVED),
    ),
    warnings=("the work tree has changes",),
    seconds=75.2,
    retries=1,
    requests=42,
)
EMPTY = Report(
    project="shop", result=ReleaseResult.SKIPPED, commit="0" * 40, date=None, branch="main"
)


def read_outputs(content: str) -> dict[str, str]:
    """Read $GITHUB_OUTPUT as the runner does: lines end with LF, values at their delimiter."""
    found = {}
    lines = iter(content.split("\n"))
    for line in lines:
        if not line:
            continue
        key, sign, delimiter = line.partition("<<")
        assert sign, line
        value = []
        for part in lines:
            if part == delimiter:
                break
            value.append(part)
        else:
            pytest.fail(f"no end of {key}")
        found[key] = "\n".join(value)
    return found


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("report.txt", report_text(REPORT)),
        ("summary.md", summary_markdown(REPORT)),
        ("artifacts.json", artifacts_json(REPORT)),
        ("metadata.json", metadata_json(REPORT)),
        ("metrics.json", metrics_json(REPORT)),
        ("digests.txt", digests_txt(REPORT)),
        ("podbuild.env", dotenv(REPORT).text),
        ("junit.xml", junit_xml(REPORT)),
    ],
)
def test_report_is_as_written_down(name: str, made: str) -> None:
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(made)
    assert made == path.read_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_end_of_a_release_fits_the_terminal_without_a_broken_word(width: int) -> None:
    fitted, whole = report_text(REPORT, width), report_text(REPORT)
    assert sorted(fitted.split()) == sorted(whole.split())
    assert max(map(len, fitted.splitlines())) <= width


def test_every_json_file_carries_its_schema(tmp_path: Path) -> None:
    write_reports(REPORT, tmp_path, {}, Redactor())
    write_plan({"schema": 1, "jobs": []}, tmp_path, Redactor())
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 5
    assert all(json.loads(path.read_text())["schema"] == 1 for path in files)


def test_all_files_are_written_and_no_others(tmp_path: Path) -> None:
    written = write_reports(REPORT, tmp_path, {}, Redactor())
    plan = write_plan({"schema": 1}, tmp_path, Redactor())
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*written.paths, plan}
    assert written.problems == ()


def test_no_report_is_ever_part_of_an_image(tmp_path: Path) -> None:
    write_reports(REPORT, tmp_path, {}, Redactor())
    write_plan({"schema": 1}, tmp_path, Redactor())
    assert {path.name for path in tmp_path.iterdir()} <= set(OUTPUT_NAMES)


def test_files_are_readable_for_the_next_job(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_reports(REPORT, tmp_path, {}, Redactor())
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


def test_file_that_cannot_be_written_is_one_line_and_the_others_are_there(tmp_path: Path) -> None:
    (tmp_path / "summary.md").mkdir()
    written = write_reports(REPORT, tmp_path, {}, Redactor())
    assert written.problems == (f"{tmp_path}/summary.md: can't be written: Is a directory",)
    assert (tmp_path / "metadata.json").exists()
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("name", ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize("value", ["/dev/null/x", "/proc/nope/x", "a\0b", "/"])
def test_odd_ci_files_are_one_line(tmp_path: Path, name: str, value: str) -> None:
    written = write_reports(REPORT, tmp_path, {name: value}, Redactor())
    assert len(written.problems) == 1
    assert "can't be written" in written.problems[0]
    assert {*written.paths} == {path for path in tmp_path.rglob("*") if path.is_file()}


def test_ci_outputs_of_other_steps_stay(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_text("before=1")  # without a line end
    write_reports(REPORT, tmp_path / "dist", {"GITHUB_OUTPUT": str(output)}, Redactor())
    first, rest = output.read_text().split("\n", 1)
    assert first == "before=1"
    assert read_outputs(rest) == dict(outputs(REPORT))


def test_summary_of_other_steps_counts_towards_the_limit(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    for taken in (LIMIT - 500, LIMIT - 10, LIMIT):
        summary.write_text("x" * (taken - 1) + "\n")
        write_reports(REPORT, tmp_path / "dist", {"GITHUB_STEP_SUMMARY": str(summary)}, Redactor())
        assert summary.stat().st_size <= LIMIT


@pytest.mark.parametrize(
    "secret", ['hunter2-"quoted"', "hunter2_Ab&cd_<x>", "hunter2|`$x`*_", "hunter2$HOME 'x' \\n"]
)
def test_secrets_stand_in_no_file(tmp_path: Path, secret: str) -> None:
    report = replace(
        REPORT,
        images=(*REPORT.images, ImageReport(name="broken", digest=None)),
        warnings=(f"login {secret}",),
        failure=Failure(exit_code=4, message=secret, hint=secret),
        faults={Job("web", ARM64): secret},
        targets=(target("hub", "oci", f"reg.example/{secret}/web", "web"),),
    )
    redactor = Redactor()
    redactor.add(secret)
    environment = {
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "step"),
    }
    written = write_reports(report, tmp_path / "dist", environment, redactor)
    write_plan({"schema": 1, "repository": secret}, tmp_path / "dist", redactor)
    files = [path for path in tmp_path.rglob("dist/**/*") if path.is_file()]
    for path in (*files, tmp_path / "output", tmp_path / "step"):
        content = path.read_text()
        assert "hunter2" not in content, path
        assert "***" in content or path.name not in ("summary.md", "step", "junit.xml"), path
        if path.suffix == ".xml":
            ET.fromstring(content)  # noqa: S314  # our own
        if path.suffix == ".json":
            json.loads(content)
    assert any("a secret stood in the CI outputs" in problem for problem in written.problems)


class TestGitHub:
    def test_every_key_is_there(self) -> None:
        assert set(outputs(REPORT)) == {
            *("result", "version", "tag", "tag-names", "tags", "digest", "platforms", "matrix"),
            *("json", "cache_hit", "build_duration", "digest-ghcr", "digest-hub", "digest-here"),
            *("docker_hub_digest", "ghcr_digest"),
        }

    def test_values(self) -> None:
        found = outputs(REPORT)
        assert found["tags"].splitlines()[:2] == [
            "oci:dist/registry/web:1.2.3",
            "oci:dist/registry/web:1.2",
        ]
        assert found["tag-names"].splitlines() == ["1.2.3", "1.2"]
        assert found["platforms"] == "linux/amd64,linux/arm64"
        assert found["cache_hit"] == "false"
        assert found["build_duration"] == "75"
        assert json.loads(found["matrix"])["include"][0] == {
            "image": "base",
            "platform": "linux/amd64",
            "digest": str(digest("base linux/amd64")),
        }
        assert json.loads(found["json"])["images"]["web"]["digest"] == str(digest("web"))

    def test_one_image_gives_its_digest(self) -> None:
        found = outputs(replace(REPORT, images=REPORT.images[:2], targets=REPORT.targets[:2]))
        assert found["digest"] == found["ghcr_digest"] == found["digest-ghcr"] == str(digest("web"))

    def test_several_images_give_a_line_each(self) -> None:
        found = outputs(REPORT)
        worker = digest("worker linux/arm64")
        assert found["digest"] == f"web={digest('web')}\nworker={worker}"
        assert found["docker_hub_digest"] == str(digest("web"))  # the worker failed there

    def test_all_reused_is_a_cache_hit(self) -> None:
        parts = tuple(replace(part, origin=Origin.REUSED) for part in REPORT.images[1].platforms)
        reused = replace(REPORT, images=(replace(REPORT.images[1], platforms=parts),))
        assert outputs(reused)["cache_hit"] == "true"
        assert outputs(EMPTY)["cache_hit"] == "false"

    def test_outputs_of_an_empty_release_can_be_read(self) -> None:
        found = read_outputs(github_outputs(EMPTY).text)
        assert found["result"] == "skipped"
        assert found["tag"] == "main"
        assert found["digest"] == ""

    def test_delimiters_are_random(self) -> None:
        lines = entry("a", "b").splitlines()
        assert re.fullmatch(r"a<<podbuild-[0-9a-f]{32}", lines[0])
        assert entry("a", "b") != entry("a", "b")

    def test_delimiter_that_stands_in_the_value_is_not_taken(self) -> None:
        tokens = iter(["guess", "guessed", "other"])
        assert entry("a", "x\nguessed\n", lambda: next(tokens)) == "a<<other\nx\nguessed\n\nother\n"

    @given(st.text(), st.text())
    def test_whatever_the_value_the_runner_reads_it_back(self, first: str, second: str) -> None:
        assert read_outputs(entry("a", first) + entry("b-c", second)) == {"a": first, "b-c": second}

    def test_too_long_outputs_are_left_out_and_said(self) -> None:
        long = replace(REPORT, warnings=("wärning " * 100_000,))
        found = github_outputs(long)
        assert "json" not in read_outputs(found.text)
        assert read_outputs(found.text)["digest"] == outputs(REPORT)["digest"]
        assert len(found.text.encode("utf-16-le")) < OUTPUT_LIMIT
        assert found.problems == ("output 'json' is left out: job outputs are limited to 1 MB",)

    def test_registry_name_makes_a_key(self) -> None:
        odd = replace(REPORT, targets=(target("a b<<=c\n", "oci", "r.example/web", "web"),))
        assert read_outputs(github_outputs(odd).text)["digest-a-b-c-"] == str(digest("web"))


class TestGitLab:
    @given(st.text(), st.text(), st.text())
    def test_whatever_the_values_the_file_is_well_formed(self, a: str, b: str, c: str) -> None:
        content = dotenv(replace(REPORT, branch=a, version=b, previous_tag=c)).text
        lines = content.split("\n")
        assert lines.pop() == ""
        assert all(re.fullmatch(r"[A-Z_]+=\S.*", line) for line in lines)
        assert len({line.split("=")[0] for line in lines}) == len(lines) <= 15
        assert len(content.encode()) <= DOTENV_LIMIT

    @given(st.text())
    def test_no_value_breaks_a_line_or_is_expanded(self, value: str) -> None:
        clean = dotenv_value(value)
        assert len(clean.splitlines()) <= 1
        assert "$" not in clean
        assert clean == clean.strip()

    def test_what_does_not_fit_is_said(self) -> None:
        tags = tuple(
            tag_report("registry.example.com/acme/web", f"1.2.{n}", TagOutcome.MOVED)
            for n in range(400)
        )
        found = dotenv(replace(REPORT, targets=(replace(REPORT.targets[1], tags=tags),)))
        assert len(found.text.encode()) <= DOTENV_LIMIT
        assert "RELEASE_RESULT=published\n" in found.text
        assert found.problems == (
            "podbuild.env: RELEASE_TAGS is left out: GitLab reads 5 KiB at most",
        )

    def test_later_jobs_inherit_no_option_of_podbuild(self) -> None:
        assert "PODBUILD_" not in dotenv(REPORT).text


class TestMarkdown:
    def test_long_summary_is_cut_at_a_line(self) -> None:
        many = tuple(f"warning number {n} wörd" for n in range(60_000))
        long = summary_markdown(replace(REPORT, warnings=many))
        assert LIMIT - 200 < len(long.encode()) <= LIMIT
        *_, last, empty, note = long.splitlines()
        assert re.fullmatch(r"- warning number \d+ wörd", last)
        assert (empty, note[:8]) == ("", "The rest")

    def test_cut_in_a_code_block_ends_the_block(self) -> None:
        shown = cut("```sh\n" + "line\n" * 100 + "```\n", 200)
        assert shown.splitlines()[-3:] == [
            "```",
            "",
            "The rest is left out here: this summary has reached its limit of 1 MiB.",
        ]
        assert len(shown.encode()) <= 200

    @given(st.text(min_size=50), st.integers(-10, 300))
    def test_cut_keeps_the_limit(self, content: str, limit: int) -> None:
        assert len(cut(content * 3, limit).encode()) <= max(0, limit)

    @given(st.text())
    def test_no_text_ends_a_cell_or_becomes_markup(self, value: str) -> None:
        shown = text(value)
        assert "\n" not in shown
        assert not re.search(r"(?<!\\)(?:\\\\)*[|<`*\[]", shown)

    @given(st.text())
    def test_no_code_ends_a_cell(self, value: str) -> None:
        shown = code(value)
        assert "|" not in shown
        assert "\n" not in shown
        assert shown.count("`") in (0, 2)

    def test_failure_stands_first(self) -> None:
        failure = Failure(exit_code=5, message="web: RUN ended with code 3", hint="see dist/logs")
        failed = replace(EMPTY, result=ReleaseResult.FAILED, failure=failure)
        assert summary_markdown(failed).splitlines()[:5] == [
            "## shop main: failed",
            "",
            "**web: RUN ended with code 3** (exit code 5)",
            "",
            "hint: see dist/logs",
        ]


class TestText:
    def test_nothing_done_is_one_line(self) -> None:
        assert report_text(EMPTY) == "shop main: skipped in 0.0 s\n"

    def test_a_part_without_tags_says_that_it_moved_none(self) -> None:
        part = replace(EMPTY, result=ReleaseResult.PARTIAL)
        assert report_text(part) == "shop main: partial (no tag was moved) in 0.0 s\n"

    def test_build_ends_with_what_is_staged_and_the_next_step(self) -> None:
        built = replace(REPORT, targets=(), result=ReleaseResult.PARTIAL, failure=None)
        *_, end, following = report_text(built).splitlines()
        assert re.fullmatch(r"shop 1\.2\.3: \d built, \d there before, staged in .* s", end)
        assert following.startswith("next: `podbuild push`")

    def test_push_says_what_it_lacks_and_the_next_step(self) -> None:
        base, web, *others = REPORT.images
        lacking = replace(web, digest=None, platforms=())
        targets = tuple(replace(each, tags=()) for each in REPORT.targets)
        pushed = replace(
            REPORT,
            images=(base, lacking, *others),
            targets=targets,
            result=ReleaseResult.PARTIAL,
            failure=None,
        )
        text = report_text(pushed)
        assert re.search(r"^web +not staged$", text, re.MULTILINE)
        assert "dist/registry/web" not in text
        assert text.splitlines()[-1] == (
            "next: `podbuild build web` builds what is not staged, "
            "`podbuild release` moves the tags"
        )

    def test_no_run_line_while_no_tag_is_live(self) -> None:
        assert run_line(EMPTY) == ""

    def test_layout_is_run_where_there_is_no_registry(self) -> None:
        local = replace(REPORT, targets=REPORT.targets[:1])
        assert run_line(local) == "podman run --rm oci:dist/registry/web:1.2.3"

    def test_failed_image_is_named(self) -> None:
        unmade = replace(EMPTY, images=(ImageReport(name="web", digest=None),))
        broken = replace(unmade, failure=Failure(exit_code=5, message="RUN failed"))
        assert "web    not built" in report_text(broken)
        assert "web    not needed" in report_text(unmade)


class TestJunit:
    """What a CI system shows as failed: what failed, and nothing else."""

    def suites(self, report: Report) -> dict[str, tuple[str, ...]]:
        """Give each suite's cases as `name: outcome`, with what counts beside it checked."""
        root = ET.fromstring(junit_xml(report))  # noqa: S314  # our own
        found = {}
        for suite in root:
            cases = tuple(f"{case.get('name')}: {_verdict(case)}" for case in suite)
            assert suite.get("tests") == str(len(cases))
            failed = sum(len(case.findall("failure")) for case in suite)
            assert suite.get("failures") == str(failed)
            found[str(suite.get("name"))] = cases
        return found

    def test_an_image_that_a_release_did_not_need_is_no_failure(self) -> None:
        unneeded = ImageReport(name="base", digest=None, published=False)
        report = replace(REPORT, images=(unneeded, *REPORT.images[1:]))
        assert self.suites(report)["base"] == ()
        built = replace(REPORT.images[0], digest=None)
        report = replace(REPORT, images=(built, *REPORT.images[1:]))
        assert self.suites(report)["base"] == ("linux/amd64: passed", "linux/arm64: passed")

    def test_a_fault_fails_its_own_case_alone(self) -> None:
        failure = Failure(exit_code=5, message="web (linux/arm64): RUN failed")
        web = replace(REPORT.images[1], digest=None, platforms=REPORT.images[1].platforms[:1])
        unmade = ImageReport(name="worker", digest=None)
        report = replace(
            EMPTY,
            images=(replace(REPORT.images[0], digest=None), web, unmade),
            failure=failure,
            faults={Job("web", ARM64): "RUN \x01failed \ufffe <&>"},
        )
        assert self.suites(report) == {
            "base": ("linux/amd64: passed", "linux/arm64: passed"),
            "web": ("linux/amd64: passed", "linux/arm64: RUN failed <&>"),
            "worker": ("all platforms: skipped",),
        }

    def test_what_no_image_is_at_fault_for_fails_the_release(self) -> None:
        unmade = ImageReport(name="web", digest=None)
        failure = Failure(exit_code=7, message="ghcr.io: unreachable")
        report = replace(EMPTY, images=(unmade,), version="1.2.3", failure=failure)
        assert self.suites(report) == {
            "web": ("all platforms: skipped",),
            "podbuild": ("1.2.3: ghcr.io: unreachable",),
        }

    def test_a_release_that_stands_fails_nothing(self) -> None:
        report = replace(REPORT, failure=Failure(exit_code=12, message="cleanup stopped"))
        assert "podbuild" not in self.suites(report)


def _verdict(case: ET.Element) -> str:
    failure = case.find("failure")
    if failure is not None:
        return str(failure.get("message"))
    return "passed" if case.find("skipped") is None else "skipped"


def test_undone_and_failed_tags_are_not_live() -> None:
    live = {outcome for outcome in TagOutcome if outcome.is_live}
    assert live == {TagOutcome.MOVED, TagOutcome.ALREADY, TagOutcome.ADOPTED}
