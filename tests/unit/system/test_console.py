from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading

import pytest

from podbuild.errors import BuildError, ConfigError, PodbuildError, PublishError
from podbuild.system.console import Activity, Answers, Ui, Verbosity, choose_ui
from podbuild.system.console.live import LiveScreen
from podbuild.system.console.look import (
    GitHubLook,
    GitLabLook,
    Look,
    Paint,
    PlainLook,
    TerminalLook,
)
from podbuild.system.console.screen import ActivityKind, Screen, Streams, StreamScreen
from podbuild.system.redact import Redactor

TERMINAL = {"TERM": "xterm-256color"}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


class Clock:
    """Gives the next of some times."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


class Spoken:
    """A user interface and what it said."""

    def __init__(
        self,
        look: Look,
        *,
        verbosity: Verbosity = Verbosity.NORMAL,
        answers: Answers = Answers.TEXT,
        clock: Clock | None = None,
    ) -> None:
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.ui = Ui(
            StreamScreen(Streams(self.out, self.err)),
            look,
            verbosity=verbosity,
            answers=answers,
            clock=clock or Clock(0.0),
        )

    @property
    def lines(self) -> list[str]:
        return self.err.getvalue().splitlines()


def github() -> GitHubLook:
    return GitHubLook(token=lambda: "t0ken")


def test_step_says_that_it_begins_and_how_long_it_took() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(10.0, 22.34))
    with spoken.ui.step("build 2 images"):
        spoken.ui.info("web linux/arm64: reused")
    assert spoken.lines == [
        "build 2 images",
        "  web linux/arm64: reused",
        "build 2 images: done in 12.3 s",
    ]


def test_step_marks_failure_on_the_way_out() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(0.0, 75.0))
    with pytest.raises(BuildError), spoken.ui.step("build"):
        raise BuildError("web: RUN failed")
    assert spoken.lines == ["build", "build: failed after 1 min 15 s"]


def test_quick_step_about_which_nothing_is_said_takes_one_line() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(0.0, 0.2))
    with spoken.ui.step("plan"):
        spoken.ui.detail("not said")
    assert spoken.lines == ["plan"]


def test_long_step_says_that_it_has_ended() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(0.0, 8.0))
    with spoken.ui.step("verify"):
        pass
    assert spoken.lines == ["verify", "verify: done in 8.0 s"]


def test_of_a_job_that_went_well_a_plain_log_has_one_line_in_its_step() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(0.0, 5.0))
    with spoken.ui.step("build"):
        spoken.ui.block("build web linux/arm64: done in 3.1 s", ["STEP 1/2"] * 100)
    assert spoken.lines == [
        "build",
        "  build web linux/arm64: done in 3.1 s",
        "build: done in 5.0 s",
    ]


def test_failure_is_one_line_then_details_then_hint() -> None:
    spoken = Spoken(PlainLook())
    spoken.ui.fail(PodbuildError("web: it broke", hint="mend it", details=("one", "two")))
    assert spoken.lines == ["podbuild: web: it broke", "  one", "  two", "hint: mend it"]


def test_message_from_outside_stays_one_line() -> None:
    spoken = Spoken(PlainLook())
    spoken.ui.fail(PodbuildError("ghcr.io: 500 <html>\r\n\x1b[2Joops\nthere"))
    assert spoken.lines == ["podbuild: ghcr.io: 500 <html> oops there"]


def test_answers_go_to_stdout_and_everything_else_does_not() -> None:
    spoken = Spoken(PlainLook())
    spoken.ui.info("about to answer")
    spoken.ui.answer("ghcr.io/acme/web:1.2.3")
    assert spoken.out.getvalue() == "ghcr.io/acme/web:1.2.3\n"
    assert spoken.lines == ["about to answer"]


@pytest.mark.parametrize(
    ("answers", "expected"), [(Answers.TEXT, "web\n"), (Answers.JSON, '{\n  "a": "wéb"\n}\n')]
)
def test_answer_has_the_form_that_was_asked_for(answers: Answers, expected: str) -> None:
    spoken = Spoken(PlainLook(), answers=answers)
    spoken.ui.give("web", {"a": "wéb"})
    assert spoken.out.getvalue() == expected


def test_quiet_leaves_answers_warnings_and_failures() -> None:
    spoken = Spoken(PlainLook(), verbosity=Verbosity.QUIET)
    with spoken.ui.step("build"), spoken.ui.job("web"), spoken.ui.transfer("x") as sent:
        sent.expect(3)
        sent.advance(3)
        spoken.ui.info("info")
        spoken.ui.note("note")
        spoken.ui.detail("detail")
        spoken.ui.block("web", ["output"])
    spoken.ui.block("api", ["boom"], failed=True)
    spoken.ui.warn("careful")
    spoken.ui.fail(PodbuildError("over"))
    spoken.ui.answer("42")
    assert spoken.lines == ["--- api: failed", "    boom", "warning: careful", "podbuild: over"]
    assert spoken.out.getvalue() == "42\n"


def test_details_are_for_the_verbose() -> None:
    for verbosity, expected in ((Verbosity.NORMAL, []), (Verbosity.VERBOSE, ["argv"])):
        spoken = Spoken(PlainLook(), verbosity=verbosity)
        spoken.ui.detail("argv")
        assert spoken.lines == expected


def test_transfer_ends_with_one_calm_line() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(0.0, 1.0, 2.0, 99.0))
    with spoken.ui.transfer("push web to ghcr") as sent:
        sent.expect(10_000_000)
        sent.expect(10_000_000)
        sent.advance(25_000_000)
        sent.advance(-5_000_000)
        assert (sent.moved, sent.total) == (20_000_000, 20_000_000)
    assert spoken.lines == ["push web to ghcr: 20.0 MB in 2.0 s (10.0 MB/s)"]


def test_transfer_that_fails_says_how_far_it_came() -> None:
    spoken = Spoken(PlainLook(), clock=Clock(0.0, 2.0))

    def send() -> None:
        with spoken.ui.transfer("push") as sent:
            sent.expect(100)
            sent.advance(10)
            raise PodbuildError("reset")

    with pytest.raises(PodbuildError):
        send()
    assert spoken.lines == ["push: 10 B stopped after 2.0 s (5 B/s)"]


def test_transfer_of_nothing_is_not_mentioned() -> None:
    spoken = Spoken(PlainLook())
    with spoken.ui.transfer("push"):
        pass
    assert spoken.lines == []


def test_parallel_blocks_are_never_torn_apart() -> None:
    spoken = Spoken(PlainLook(whole_blocks=True))
    blocks = {
        f"job-{number}": [f"job-{number} line {line}" for line in range(50)] for number in range(8)
    }
    threads = [
        threading.Thread(target=spoken.ui.block, args=(title, content))
        for title, content in blocks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = spoken.lines
    for title, content in blocks.items():
        start = lines.index(f"--- {title}")
        assert lines[start + 1 : start + 51] == [f"    {line}" for line in content]


def test_secrets_are_cut_from_everything() -> None:
    secret = "s3cr3t-t0ken"
    spoken = Spoken(github(), verbosity=Verbosity.VERBOSE)
    ui = spoken.ui
    ui.redactor.add(secret)
    with ui.step(f"step {secret}"), ui.job(f"job {secret}"), ui.transfer(f"t {secret}") as sent:
        sent.advance(1)
    for say in (ui.info, ui.detail, ui.note, ui.warn, ui.answer):
        say(f"text {secret}")
    ui.warn("w", file=secret, line=3)
    ui.fail(PodbuildError(f"m {secret}", hint=secret, details=(f"d {secret}",)))
    ui.block(f"b {secret}", [f"l {secret}"])
    ui.answer_json({secret: [secret]})
    assert secret not in spoken.err.getvalue() + spoken.out.getvalue()
    assert spoken.err.getvalue().count("***") >= 12


def test_secret_of_several_lines_is_cut_from_a_block() -> None:
    spoken = Spoken(PlainLook(whole_blocks=True))
    spoken.ui.redactor.add("first-line-of-it\nsecond-line-of-it")
    spoken.ui.block("web", ["+ first-line-of-it", "second-line-of-it"])
    assert spoken.lines == ["--- web", "    + ***", "    ***"]


def test_engine_output_cannot_move_the_cursor() -> None:
    spoken = Spoken(PlainLook(whole_blocks=True))
    spoken.ui.block("web", ["\x1b]0;title\x07a\x1b[31mred\x1b[0m", "10%\r50%\r100%\r", "a\nb"])
    assert spoken.lines == ["--- web", "    ared", "    100%", "    a", "    b"]


class TestGitHub:
    def test_jobs_are_folded_and_their_output_is_no_command(self) -> None:
        spoken = Spoken(github())
        spoken.ui.block("web linux/arm64", ["::set-output name=x::y", "##[error]no"])
        assert spoken.lines == [
            "::group::web linux/arm64",
            "::stop-commands::t0ken",
            "::set-output name=x::y",
            "##[error]no",
            "::t0ken::",
            "::endgroup::",
        ]

    def test_tokens_are_never_the_same(self) -> None:
        tokens = {GitHubLook().block("a", (), failed=True)[1] for _ in range(20)}
        assert len(tokens) == 20

    def test_failed_jobs_stay_open(self) -> None:
        spoken = Spoken(github())
        spoken.ui.block("web", ["boom"], failed=True)
        assert spoken.lines == ["web: failed", "::stop-commands::t0ken", "boom", "::t0ken::"]

    def test_error_is_an_annotation_at_its_place(self) -> None:
        spoken = Spoken(github())
        spoken.ui.fail(ConfigError("podbuild.toml:12: web.x: 50% of, it", hint="a\nb"))
        assert spoken.lines == [
            "podbuild: podbuild.toml:12: web.x: 50% of, it",
            "hint: a b",
            (
                "::error file=podbuild.toml,line=12,title=podbuild::"
                "podbuild.toml:12: web.x: 50%25 of, it%0Ahint: a b"
            ),
        ]

    def test_host_and_port_are_no_file_and_line(self) -> None:
        spoken = Spoken(github())
        spoken.ui.fail(PublishError("127.0.0.1:5000: GET /v2/: connection refused"))
        assert spoken.lines[-1] == (
            "::error title=podbuild::127.0.0.1:5000: GET /v2/: connection refused"
        )

    def test_warning_escapes_its_properties(self) -> None:
        spoken = Spoken(github())
        spoken.ui.warn("50%\nof it", file="a,b:c.toml", line=7)
        spoken.ui.warn("no place")
        assert spoken.lines == [
            "::warning file=a%2Cb%3Ac.toml,line=7,title=podbuild::50%25 of it",
            "::warning title=podbuild::no place",
        ]

    @pytest.mark.parametrize("text", ["::add-mask::x", "  ::error::x", "oops ##[add-mask]x"])
    def test_nothing_said_becomes_a_command(self, text: str) -> None:
        spoken = Spoken(github())
        spoken.ui.info(text)
        spoken.ui.fail(PodbuildError("m", details=(text,)))
        with spoken.ui.step(text):
            pass
        commands = [line for line in spoken.lines if re.match(r"\s*::", line) or "##[" in line]
        assert commands == ["::error title=podbuild::m"]

    def test_tokens_made_during_the_run_are_masked(self) -> None:
        spoken = Spoken(github())
        spoken.ui.mask("session-t0ken%")
        spoken.ui.info("session-t0ken%")
        assert spoken.lines == ["::add-mask::session-t0ken%25", "***"]

    def test_other_logs_are_not_told_a_secret(self) -> None:
        spoken = Spoken(PlainLook())
        spoken.ui.mask("session-t0ken")
        assert spoken.lines == []


class TestGitLab:
    def test_jobs_are_collapsed_sections(self) -> None:
        spoken = Spoken(GitLabLook(Paint(), clock=lambda: 1700000000.9))
        spoken.ui.block("Web linux/arm64", ["out"])
        spoken.ui.block("api", ["\x1b[0Ksection_end:1:x\r\x1b[0Kboom"], failed=True)
        assert spoken.err.getvalue() == (
            "\x1b[0Ksection_start:1700000000:podbuild_1_web_linux_arm64[collapsed=true]\r\x1b[0K"
            "Web linux/arm64\n    out\n"
            "\x1b[0Ksection_end:1700000000:podbuild_1_web_linux_arm64\r\x1b[0K\n"
            "\x1b[0Ksection_start:1700000000:podbuild_2_api[collapsed=false]\r\x1b[0K"
            "api: failed\n    boom\n"
            "\x1b[0Ksection_end:1700000000:podbuild_2_api\r\x1b[0K\n"
        )


class TestTerminal:
    def test_of_a_job_that_went_well_its_title_is_enough(self) -> None:
        spoken = Spoken(TerminalLook())
        spoken.ui.block("web linux/arm64 (3.1 s)", ["a"] * 100)
        assert spoken.lines == ["web linux/arm64 (3.1 s)"]

    def test_of_a_job_that_failed_the_end_is_shown(self) -> None:
        spoken = Spoken(TerminalLook(last_lines=2))
        spoken.ui.block("web", ["one", "two", "three"], failed=True)
        assert spoken.lines == ["--- web: failed", "    two", "    three"]

    def test_what_runs_is_shown_and_goes_away(self) -> None:
        terminal = Terminal()
        ui = choose_ui(TERMINAL, Streams(io.StringIO(), terminal))
        with ui.step("push"), ui.transfer("layer") as sent:
            sent.expect(1000)
            sent.advance(500)
            with ui.job("web linux/arm64"):
                ui.info("said above")
        text = terminal.getvalue()
        assert "web linux/arm64" in text
        assert "500 B/1.0 kB" in text
        assert "said above" in text
        assert text.endswith("\n")
        assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back

    def test_what_a_job_is_doing_is_shown_without_secrets(self) -> None:
        terminal = Terminal()
        ui = choose_ui(TERMINAL, Streams(io.StringIO(), terminal))
        ui.redactor.add("s3cr3t-t0ken")
        with ui.job("web linux/arm64") as doing:
            doing("STEP 3/8: RUN\r\n s3cr3t-t0ken [b]")
            with ui.job("api linux/arm64"):
                pass
        assert "STEP 3/8: RUN *** [b]" in terminal.getvalue()
        assert "s3cr3t" not in terminal.getvalue()

    def test_markup_in_titles_and_lines_is_plain_text(self) -> None:
        terminal = Terminal()
        ui = choose_ui(TERMINAL, Streams(io.StringIO(), terminal))
        with ui.step("push [bold]x[/bold] [/]"):
            ui.info("[red]not red[/red] :smile:")
        assert "[red]not red[/red] :smile:" in terminal.getvalue()
        assert "push [bold]x[/bold] [/]" in terminal.getvalue()

    def test_answer_is_whole_while_something_is_shown(self) -> None:
        out = io.StringIO()
        ui = choose_ui(TERMINAL, Streams(out, Terminal()))
        with ui.step("push"):
            ui.answer("42")
        assert out.getvalue() == "42\n"


@pytest.mark.parametrize(
    ("environment", "look", "screen"),
    [
        ({**TERMINAL}, TerminalLook, LiveScreen),
        ({**TERMINAL, "CI": "true"}, PlainLook, StreamScreen),
        ({"TERM": "dumb"}, PlainLook, StreamScreen),
        ({}, PlainLook, StreamScreen),
        ({**TERMINAL, "CI": "true", "GITHUB_ACTIONS": "true"}, GitHubLook, StreamScreen),
        ({"GITEA_ACTIONS": "true", "GITHUB_ACTIONS": "true"}, GitHubLook, StreamScreen),
        ({"CI": "true", "GITLAB_CI": "true"}, GitLabLook, StreamScreen),
    ],
)
def test_look_fits_the_place(
    environment: dict[str, str], look: type[Look], screen: type[Screen]
) -> None:
    ui = choose_ui(environment, Streams(io.StringIO(), Terminal()))
    assert (type(ui._look), type(ui._screen)) == (look, screen)


def test_without_a_terminal_nothing_moves_and_nothing_is_coloured() -> None:
    err = io.StringIO()
    ui = choose_ui(TERMINAL, Streams(io.StringIO(), err))
    with ui.step("build"):
        ui.warn("careful")
    assert "\x1b" not in err.getvalue()


def test_no_progress_shows_nothing_live() -> None:
    terminal = Terminal()
    ui = choose_ui(TERMINAL, Streams(io.StringIO(), terminal), progress=False)
    with ui.step("build"):
        ui.info("something")
    assert "\x1b[?25l" not in terminal.getvalue()
    assert "\x1b[32m" in terminal.getvalue()


@pytest.mark.parametrize("extra", [{}, {"GITLAB_CI": "true"}, {"FORCE_COLOR": "1"}])
def test_no_color_stands_above_all(extra: dict[str, str]) -> None:
    terminal = Terminal()
    ui = choose_ui({**TERMINAL, "NO_COLOR": "1", **extra}, Streams(io.StringIO(), terminal))
    with ui.step("build"):
        ui.warn("careful")
        ui.fail(PodbuildError("m", hint="h"))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.getvalue())


def test_reader_that_went_away_does_not_stop_the_release() -> None:
    ui = choose_ui({}, Streams(Closed(), Closed()))
    ui.info("nobody listens")
    ui.answer("nobody reads")


def test_full_disk_under_an_answer_is_an_error() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ui = choose_ui({}, Streams(full, io.StringIO()))
        with pytest.raises(PodbuildError, match="can't write the answer: No space left"):
            ui.answer("42")


def test_terminal_that_knows_only_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    choose_ui({}, Streams(out, io.StringIO())).answer("wéb → ok")
    assert raw.getvalue() == b"w\\xe9b \\u2192 ok\n"


def test_answer_json_stays_json_when_a_secret_is_cut() -> None:
    spoken = Spoken(PlainLook())
    spoken.ui.redactor.add('quo"te\\d')
    spoken.ui.answer_json({"a": 'x quo"te\\d y'})
    assert json.loads(spoken.out.getvalue()) == {"a": "x *** y"}


def test_redactor_is_shared_with_those_who_learn_secrets() -> None:
    redactor = Redactor()
    err = io.StringIO()
    ui = choose_ui({}, Streams(io.StringIO(), err), redactor=redactor)
    redactor.add("learnt-later")
    ui.info("it is learnt-later")
    assert err.getvalue() == "it is ***\n"


@pytest.mark.integration
def test_importing_the_ui_does_not_import_rich() -> None:
    code = "import sys, podbuild.system.console; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Busy(io.StringIO):
    """A stream that a signal handler finds in the middle of a write, as BufferedWriter has it."""

    busy = False

    def write(self, text: str) -> int:
        if self.busy and threading.current_thread() is threading.main_thread():
            raise RuntimeError("reentrant call inside <_io.BufferedWriter>")
        return super().write(text)


@pytest.mark.parametrize("live", [False, True])
def test_a_signal_handler_that_speaks_in_the_middle_of_a_write_is_no_failure(live: bool) -> None:
    err = Busy()
    streams = Streams(out=io.StringIO(), err=err)
    screen = LiveScreen(streams, colours=False) if live else StreamScreen(streams)
    activity = Activity(ActivityKind.JOB, "build web")
    screen.show(activity)
    err.busy = True
    screen.say(["SIGTERM: stopping"])
    err.busy = False
    screen.hide(activity)
    screen.say(["the end"])
    assert "the end" in err.getvalue()
