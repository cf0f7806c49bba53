from __future__ import annotations

import pytest

from podbuild.build.engine.failure import FailedStep, explain, is_transient
from podbuild.errors import BuildError, CredentialError, DeadlineError
from podbuild.system.process import CommandError, CommandTimeoutError, Finished


def failed(*tail: str, code: int = 1) -> CommandError:
    return CommandError(
        Finished(argv=("buildah", "build"), code=code, out="", tail=tail, seconds=3.0)
    )


def test_a_failing_run_is_told_with_its_code() -> None:
    error = explain(
        "web linux/arm64",
        failed(
            "my last words",
            'Error: building at STEP "RUN make": while running runtime: exit status 7',
            code=7,
        ),
    )
    assert isinstance(error, BuildError)
    assert error.message == "web linux/arm64: RUN make ended with code 7: my last words"
    assert error.run_code == 7
    assert error.details[0] == "my last words"


def test_a_step_is_told_with_file_line_and_last_output() -> None:
    error = explain(
        "web linux/arm64",
        failed(
            "make: *** no rule",
            "subprocess exited with status 2",
            'Error: building at STEP "RUN --mount=x . /run/y; make": exit status 2',
        ),
        step=FailedStep("web/Containerfile:7", "RUN make"),
    )
    assert error.message == (
        "web/Containerfile:7: web linux/arm64: RUN make ended with code 2: make: *** no rule"
    )


def test_a_shell_that_is_not_there_is_named() -> None:
    error = explain(
        "web linux/amd64",
        failed(
            "process failed to start with error: fork/exec /bin/sh: no such file or directory",
            "process exited with error: exec: not started",
            "subprocess exited with status 1",
            'Error: building at STEP "RUN true": exit status 1',
        ),
    )
    assert error.message.endswith("fork/exec /bin/sh: no such file or directory")


def test_where_the_engine_keeps_files_is_not_told() -> None:
    inside = f"/home/u/.cache/x/graph/overlay/{'a1' * 32}/merged/etc/x"
    line = f'Error: building at STEP "COPY x /": open {inside}: no such file'
    error = explain("web", failed(line), step=FailedStep("C:2", "COPY x /"))
    assert error.message == "C:2: web: COPY x / failed: open /etc/x: no such file"


def test_another_step_is_told_with_its_reason() -> None:
    line = 'Error: building at STEP "COPY x /": checking on sources: no such file'
    error = explain("web", failed("STEP 1", line, code=125))
    assert error.message == "web: COPY x / failed: checking on sources: no such file"


def test_a_long_word_of_the_engine_keeps_its_ends() -> None:
    names = " ".join(f"/a/file/number/{number}" for number in range(400))
    reason = f'Error: building at STEP "COPY x /": copier: stat: {names}: no such file'
    message = explain("web", failed(reason)).message
    assert message.startswith("web: COPY x / failed: copier: stat: /a/file/number/0 ")
    assert message.endswith("/a/file/number/399: no such file")
    assert len(message) < 500


@pytest.mark.parametrize("code", [-9, 137])
def test_a_killed_engine_may_lack_memory(code: int) -> None:
    assert "memory" in explain("web", failed("STEP 1", code=code)).hint


def test_a_run_that_was_killed_is_not_the_engine() -> None:
    line = 'Error: building at STEP "RUN make": while running runtime: exit status 137'
    error = explain("web", failed(line, code=137))
    assert error.message == "web: RUN make ended with code 137"


@pytest.mark.parametrize(
    "reason",
    [
        "reading manifest trixie in r.example.com/base: unauthorized: authentication required",
        "reading manifest 1 in docker.io/acme/base: denied: requested access is denied",
    ],
)
def test_a_base_that_is_refused_is_a_matter_of_logins(reason: str) -> None:
    line = f"Error: creating build container: unable to copy from source: {reason}"
    error = explain("web", failed(line, code=125))
    assert isinstance(error, CredentialError)
    assert reason in error.message
    in_run = f'Error: building at STEP "RUN curl": exit status 1: {reason}'
    assert isinstance(explain("web", failed(in_run)), BuildError)


def test_a_base_without_the_platform_is_told() -> None:
    line = 'Error: choosing image: no image found in image index for architecture "arm64"'
    assert "no image for this platform" in explain("web", failed(line, code=125)).hint


def test_a_crash_is_no_register_s_value() -> None:
    error = explain("web", failed("fs     0x0", "gs     0x0", "", code=2), log="dist/logs/web.log")
    assert error.message == "web: the engine crashed"
    assert "ulimit -u" in error.hint
    assert "dist/logs/web.log" in error.hint


def test_a_damaged_storage_names_the_way_out() -> None:
    line = (
        'Error: loading "/cache/engines/buildah-1.43.2/linux-amd64/graph/overlay-images/'
        'images.json": []*storage.Image: decode slice: expect [ or n, but found {'
    )
    assert "podbuild clean --keep 0" in explain("web", failed(line, code=125)).hint


@pytest.mark.parametrize(
    "line",
    ["write /x: no space left on device", "Error: committing: Disk quota exceeded"],
)
def test_a_full_disk_is_one_clear_line(line: str) -> None:
    assert explain("web", failed(line)).message == "web: no space left on device"


def test_a_full_staging_area_is_a_full_disk() -> None:
    full = BuildError("no space left on device for the blobs")
    assert explain("web", failed("Error: 507"), full).message == "web: no space left on device"


def test_a_job_that_takes_too_long_is_a_timeout() -> None:
    error = CommandTimeoutError(failed("STEP 1").finished)
    assert isinstance(explain("web", error), DeadlineError)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "line",
    [
        "Error: reading blob: received unexpected HTTP status: 503 Service Unavailable",
        "Error: initializing source docker://x: read tcp: connection reset by peer",
        "Error: creating build container: layer not known",
        "Error: pinging container registry: net/http: TLS handshake timeout",
        "Error: reading manifest: toomanyrequests: rate limit",
        'Error: building at STEP "COPY x /": storing layer: layer not known',
    ],
)
def test_what_may_pass_is_tried_again(line: str) -> None:
    assert is_transient(failed("STEP 1", line, code=125))


def test_an_engine_that_could_not_start_itself_again_for_a_run_is_asked_again() -> None:
    said = "Close_Fd sealing memfd copy: Device or resource busy"
    error = 'Error: building at STEP "RUN make": exit status 1'
    assert is_transient(failed("STEP 2/4: RUN make", said, error))
    assert not is_transient(failed(said, "more", "and more", "my last words", error))


@pytest.mark.parametrize(
    "line",
    [
        "Error: reading manifest x in docker.io/library/debian: manifest unknown",
        "Error: initializing source: unauthorized: authentication required",
        'Error: building at STEP "RUN curl": exit status 7 connection reset by peer',
        "connection refused",
    ],
)
def test_what_will_not_pass_is_not(line: str) -> None:
    later = () if line.startswith("Error") else ("Error: exit status 1",)
    assert not is_transient(failed(line, *later))
