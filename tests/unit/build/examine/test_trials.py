"""What is tried in an image, from its config and its tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.examine.trials import ImageTrial, trials_of
from podbuild.config.image import Image
from podbuild.config.load import parse_config
from podbuild.config.trials import Healthcheck, ImageTest
from podbuild.errors import ConfigError
from podbuild.oci.names import Digest, Platform
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
CONFIG: dict[str, JSONValue] = {
    "Entrypoint": ["/app"],
    "Cmd": ["--serve"],
    "Env": ["A=1", "B=2=3"],
    "User": "app",
    "WorkingDir": "/srv",
}
WEB = Image(name="web")


def tried(image: Image, health: JSONValue = None, **more: JSONValue) -> list[ImageTrial]:
    config = {**CONFIG, **more, **({"Healthcheck": health} if health else {})}
    return [*trials_of(image, Job("web", AMD64), Digest.of(b""), config)]


def test_a_test_runs_with_what_the_image_says_and_its_own() -> None:
    test = ImageTest(run=("app", "-V"), env={"A": "x"}, user="7", stdin="in")
    (one,) = tried(replace(WEB, tests=(test,)))
    assert one.order["processes"] == [
        {
            "argv": ["app", "-V"],
            "env": {"A": "x", "B": "2=3"},
            "user": "7",
            "cwd": "/srv",
            "stdin": "",
        }
    ]
    assert (one.slug, one.stdin, one.name) == ("test-1", "in", "run app -V")


def test_a_page_is_asked_of_what_the_image_starts() -> None:
    test = ImageTest(start=True, http="http://[::1]/a?b=c", status=404)
    (one,) = tried(replace(WEB, tests=(test,)))
    assert one.order["http"] == ["::1", 80, "/a?b=c", "http://[::1]/a?b=c"]
    assert [each["argv"] for each in one.order["processes"]] == [["/app", "--serve"]]  # type: ignore[call-overload,index,union-attr]


@pytest.mark.parametrize(
    ("health", "argv"),
    [
        ({"Test": ["CMD", "/check", "now"]}, ["/check", "now"]),
        ({"Test": ["CMD-SHELL", "exit 0"]}, ["/bin/sh", "-c", "exit 0"]),
        ({"Test": ["NONE"]}, None),
        ({"Test": []}, None),
        ({"Test": ["CMD"]}, None),
        ({}, None),
    ],
)
def test_a_healthcheck_is_what_docker_asks(health: JSONValue, argv: list[str] | None) -> None:
    found = tried(WEB, health)
    asked = [each.order["processes"][1]["argv"] for each in found]  # type: ignore[call-overload,index]
    assert asked == ([] if argv is None else [argv])


def test_a_healthcheck_takes_the_image_s_shell_and_its_own_time() -> None:
    health: JSONValue = {
        "Test": ["CMD-SHELL", "x"],
        "StartPeriod": 40_000_000_000,
        "Interval": 10_000_000_000,
        "Timeout": 2_000_000_000,
        "Retries": 2,
    }
    (one,) = tried(WEB, health, Shell=["/bin/bash", "-e"])
    assert one.order["processes"][1]["argv"] == ["/bin/bash", "-e", "x"]  # type: ignore[call-overload,index]
    assert (one.order["within"], one.order["timeout"]) == (60.0, 2.0)
    assert one.timed(emulated=True)["within"] == 300.0


def test_nothing_is_asked_of_what_is_not_to_be_asked() -> None:
    health: JSONValue = {"Test": ["CMD", "x"]}
    assert not tried(replace(WEB, healthcheck=Healthcheck.OFF), health)
    assert not tried(replace(WEB, publish=False), health)
    assert not tried(WEB, health, Entrypoint=None, Cmd=None)
    elsewhere = ImageTest(run=("x",), platforms=(ARM64,))
    assert not tried(replace(WEB, tests=(elsewhere,)))


def test_a_trial_is_the_same_where_image_and_test_are() -> None:
    test = ImageTest(run=("x",), stdin="a")

    def key(what: ImageTest, digest: bytes = b"") -> str:
        image = replace(WEB, tests=(what,))
        (one,) = trials_of(image, Job("web", AMD64), Digest.of(digest), CONFIG)
        return one.key

    assert key(test) == key(replace(test, platforms=(AMD64,)))
    others = (replace(test, stdin="b"), replace(test, within=9.0), replace(test, match="y"))
    assert len({key(test), *map(key, others), key(test, b"other")}) == 5


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "needs one of run and start"),
        ('run = ["x"]\nstart = true', "needs one of run and start"),
        ('run = "x"', "expected an array"),
        ("run = []", "names no program"),
        ('run = ["x", 1]', "tests[0].run[1]: expected a string"),
        ("start = true", "asks nothing"),
        ('run = ["x"]\nhttp = "http://127.0.0.1/"', "http needs start"),
        ('start = true\nhttp = "http://example.com/"', "example.com can't be reached"),
        ('start = true\nhttp = "https://127.0.0.1/"', "begins with http://"),
        ('start = true\nhttp = "http://u:p@127.0.0.1/"', "has a login"),
        ('start = true\nhttp = "http://127.0.0.1:99999/"', "is not a URL"),
        ('start = true\nmatch = "x"\nstatus = 204', "status needs http"),
        ('start = true\nhttp = "http://127.0.0.1/"\nstatus = 7', "no status"),
        ('run = ["x"]\nmatch = "("', "not a regular expression"),
        ('run = ["x"]\nwithin = "0s"', "leaves it no time"),
        ('run = ["x"]\nwithin = "soon"', "is not a duration"),
        ('run = ["x"]\nplatforms = ["linux/s390x"]', "not built for linux/s390x"),
        ('run = ["x"]\nenv = { "A B" = "x" }', "the name of a variable"),
        ('run = ["x"]\nuntil = "x"', "unknown key"),
    ],
)
def test_a_test_that_can_not_be_meant_is_refused(lines: str, said: str, tmp_path: Path) -> None:
    head = f'[project]\nname = "p"\n[images.web]\ncontext = "{tmp_path}"\n[[images.web.tests]]\n'
    with pytest.raises(ConfigError) as error:
        parse_config(head + lines, tmp_path / "podbuild.toml", {})
    assert said in error.value.message
    assert "podbuild.toml:" in error.value.message
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[[checks]]", "run is missing"),
        ('[[checks]]\nrun = ["scan"]\nimages = ["wbe"]', "unknown image 'wbe'"),
        ('[[checks]]\nrun = ["scan"]\nplatforms = ["linux/s390x"]', "built for linux/s390x"),
        ('[[checks]]\nrun = ["scan"]\n[[checks]]\nrun = ["/bin/scan", "x"]', "named 'scan'"),
        ('[checks]\nrun = ["scan"]', "expected an array"),
        ('[images.base]\npublish = false\n[[images.base.tests]]\nrun = ["x"]', "publish = false"),
        ('[defaults.budget]\ngrowth = "much"', "neither a share nor a size"),
    ],
)
def test_commands_and_budgets_that_can_not_be_meant_are_refused(
    lines: str, said: str, tmp_path: Path
) -> None:
    head = f'[project]\nname = "p"\n[images.web]\ncontext = "{tmp_path}"\n'
    with pytest.raises(ConfigError) as error:
        parse_config(f"{head}{lines}\n", tmp_path / "podbuild.toml", {})
    assert said in error.value.message
    assert "podbuild.toml:" in error.value.message
