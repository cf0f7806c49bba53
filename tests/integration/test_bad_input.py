"""Bad input through the command line: the exit code, one clear line, and nothing changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import requests

from tests.builds import LASTING, NATIVE, WAITS, heard
from tests.faults import HTML, On, Script, fault_proxy
from tests.registries import NOBODY, Server, registry_server
from tests.shops import Done, Shop, new_shop, oci_registry
from tests.toolchains import SYSTEM_PATH

pytestmark = pytest.mark.integration

PASSWORD = "the right password"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project nobody has released yet, and the registry that it would go to."""

    shop: Shop
    server: Server

    def copy(self, folder: Path) -> Shop:
        """Give a copy of the project for one test."""
        root = folder / "shop"
        shutil.copytree(self.shop.root, root)
        return replace(self.shop, root=root).having(PODBUILD_ALLOW_DIRTY="1")

    @property
    def repositories(self) -> list[str]:
        """Give what the registry holds."""
        login = (self.server.username, self.server.password)
        answer = requests.get(f"http://{self.server.host}/v2/_catalog", auth=login, timeout=30)
        found = answer.json()["repositories"]
        assert isinstance(found, list)
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("bad")
    with registry_server(login=("bot", PASSWORD)) as server:
        shop = new_shop(folder, oci_registry("one", server.host, "insecure = true"))
        text = (shop.root / "podbuild.toml").read_text()
        shop.write("podbuild.toml", re.sub(r"platforms = .*", f'platforms = ["{NATIVE}"]', text))
        shop.commit("v1.2.3")
        yield Place(
            shop=shop.having(PODBUILD_ONE_USERNAME="bot", PODBUILD_ONE_TOKEN=PASSWORD),
            server=server,
        )
        shop("clean", "--keep", "0")


Edit = Callable[[Shop], object]


def nothing(_shop: Shop) -> None:
    """Change nothing."""


def replaced(name: str, old: str, new: str) -> Edit:
    """Give an edit of a file."""

    def edit(shop: Shop) -> None:
        text = (shop.root / name).read_text()
        assert old in text
        shop.write(name, text.replace(old, new, 1))

    return edit


def removed(name: str) -> Edit:
    """Give an edit that removes a file."""
    return lambda shop: (shop.root / name).unlink()


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is wrong, and what podbuild must say: exit code, its line and its hint."""

    code: int
    says: str
    hint: str
    edit: Edit = nothing
    argv: tuple[str, ...] = ("release", "v1.2.3")
    environment: dict[str, str | None] = field(default_factory=dict)


CASES = {
    "no configuration": Case(
        code=2,
        edit=removed("podbuild.toml"),
        says=r"no podbuild\.toml in .*shop or above it",
        hint="`podbuild init` writes one",
    ),
    "unknown key": Case(
        code=2,
        edit=replaced("podbuild.toml", "licenses", "licences"),
        says=r"podbuild\.toml:5: project\.licences: unknown key",
        hint="did you mean 'licenses'",
    ),
    "bad TOML": Case(
        code=2,
        edit=replaced("podbuild.toml", 'licenses = "MIT"', 'licenses = "MIT'),
        says=r"podbuild\.toml:5: not valid TOML",
        hint="",
    ),
    "unknown image in contexts": Case(
        code=2,
        edit=replaced("podbuild.toml", "image:base", "image:bsae"),
        says=r"podbuild\.toml:\d+: images\.app\.contexts\.base: unknown image 'bsae'",
        hint="did you mean 'base'",
    ),
    "a cycle": Case(
        code=2,
        edit=replaced("podbuild.toml", "publish = false", 'contexts = { app = "image:app" }'),
        says=r"images need each other in a circle: base -> app -> base",
        hint="take one of the contexts out",
    ),
    "missing Containerfile": Case(
        code=2,
        edit=removed("app/Containerfile"),
        says=r"image 'app': there is no app/Containerfile",
        hint="write it, or name another one with containerfile",
    ),
    "folder that is none": Case(
        code=2, argv=("-C", "/nowhere", "plan"), says="/nowhere: no such folder", hint="-C names"
    ),
    "unknown option": Case(
        code=2,
        argv=("release", "--plattform", "linux/amd64"),
        says="no such option '--plattform'",
        hint="podbuild release --help",
    ),
    "unknown command": Case(
        code=2, argv=("relaese",), says="no such command 'relaese'; did you mean 'release'", hint=""
    ),
    "unknown registry": Case(
        code=2,
        argv=("release", "v1.2.3", "--registry", "two"),
        says="unknown registry 'two'",
        hint="the configuration has: one",
    ),
    "no version": Case(
        code=2,
        edit=lambda shop: shop.git("tag", "-d", "v1.2.3"),
        argv=("release",),
        says="no version is given, and no SemVer tag is at this commit",
        hint="git tag v1.2.3",
    ),
    "two parts": Case(
        code=3, argv=("release", "v1.0"), says="'v1.0' is not a version", hint="vMAJOR.MINOR.PATCH"
    ),
    "a tag elsewhere": Case(
        code=3,
        edit=lambda shop: shop.commit(),
        says=r"v1\.2\.3 is commit [0-9a-f]{12}, but [0-9a-f]{12} is checked out",
        hint="git checkout v1.2.3",
    ),
    "a tag that is required": Case(
        code=3,
        argv=("release", "v1.2.4", "--require-tag"),
        says=r"there is no git tag v1\.2\.4",
        hint="git tag v1.2.4",
    ),
    "wrong password": Case(
        code=4,
        environment={"PODBUILD_ONE_TOKEN": "the wrong password"},
        says=r"the login from PODBUILD_ONE_TOKEN is refused",
        hint="check user, token",
    ),
    "no login": Case(
        code=4,
        environment={"PODBUILD_ONE_TOKEN": None, "PODBUILD_ONE_USERNAME": None},
        says="wants a login, and there is none for it",
        hint=r"\w+ login 127\.0\.0\.1:\d+, or set PODBUILD_NAME_USERNAME",
    ),
    "missing build secret": Case(
        code=4,
        environment={"NPM_SECRET": None},
        says="build secret 'npm' of image 'app': NPM_SECRET is not set",
        hint="set NPM_SECRET",
    ),
    "a RUN that fails": Case(
        code=5,
        edit=replaced("app/Containerfile", "set -eu", "echo my last words; exit 37"),
        says=r"app linux/\w+: RUN .* ended with code 37",
        hint=r"dist/logs/app-linux-\w+.log has the whole output",
    ),
    "an instruction that is none": Case(
        code=2,
        edit=replaced("app/Containerfile", "COPY <<EOF", "CPOY <<EOF"),
        says=r"app/Containerfile:\d+: no instruction is called CPOY$",
        hint="did you mean COPY",
    ),
    "no engine": Case(
        code=11,
        environment={"PODBUILD_TOOLCHAIN": "system", "PATH": "/usr/bin:/bin"},
        says=r"no buildah 1\.41 or podman 5\.6 or newer on PATH",
        hint="podbuild toolchain install, and unset PODBUILD_TOOLCHAIN",
    ),
    "a folder that can't be written to": Case(
        code=2,
        edit=lambda shop: (shop.root / "dist").mkdir(mode=0o555),
        says=r"dist/plan\.json: can't be written: Permission denied",
        hint=r"\[project\] output",
    ),
    "a time that is no time": Case(
        code=2,
        argv=("release", "v1.2.3", "--timeout", "soon"),
        says="'soon' is no duration",
        hint="90s, 45m",
    ),
    "no time at all": Case(
        code=124,
        argv=("release", "v1.2.3", "--timeout", "0.01"),
        says="the time given with --timeout is over",
        hint="the same command continues",
    ),
}


def complaint(done: Done) -> tuple[str, str]:
    """Give the one line of the failure, and its hint."""
    lines = done.err.splitlines()
    (said,) = (line for line in lines if line.startswith("podbuild: "))
    hints = [line for line in lines if line.startswith("hint: ")]
    assert "Traceback" not in done.text
    return said, "".join(hints)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_gets_a_clear_line_and_changes_nothing(
    place: Place, tmp_path: Path, case: Case
) -> None:
    shop = place.copy(tmp_path)
    case.edit(shop)
    done = shop.having(**case.environment)(*case.argv)
    assert done.code == case.code, done.text
    said, hint = complaint(done)
    assert re.search(case.says, said)
    assert re.search(case.hint, hint)
    assert place.repositories == []


def test_a_failing_run_is_in_the_report_with_its_code(place: Place, tmp_path: Path) -> None:
    shop = place.copy(tmp_path)
    said = WAITS.format("echo my last 'words'")
    replaced("app/Containerfile", "RUN ", f"RUN {LASTING} ")(shop)
    replaced("app/Containerfile", "set -eu", f"{said}; exit 37")(shop)
    log = shop.root / f"dist/logs/app-{NATIVE.slug}.log"
    with heard("my last words", log, Path(shop.environment["XDG_CACHE_HOME"]) / "podbuild/mounts"):
        done = shop("release", "v1.2.3")
    assert done.err.count("my last words") == 2  # in its block, and where it is said why
    metadata = json.loads((shop.root / "dist/metadata.json").read_text())
    assert metadata["result"] == "failed"
    assert metadata["failure"]["exit_code"] == 5
    assert metadata["failure"]["run_code"] == 37
    said = r"app/Containerfile:\d+: app linux/\w+: RUN .* ended with code 37: my last words"
    assert re.fullmatch(said, metadata["failure"]["message"])
    assert "my last words" in (shop.root / "dist/summary.md").read_text()
    assert place.repositories == []


def test_an_engine_that_is_too_old_is_named(place: Place, tmp_path: Path) -> None:
    old = tmp_path / "bin/buildah"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho buildah version 1.33.7 '(image-spec 1.1.0)'\n")
    old.chmod(0o755)
    path = f"{old.parent}:{SYSTEM_PATH}"
    shop = place.copy(tmp_path).having(PODBUILD_TOOLCHAIN="system", PATH=path)
    done = shop("release", "v1.2.3")
    assert done.code == 11, done.text
    said, hint = complaint(done)
    assert f"too old: buildah 1.33.7 at {old}" in said
    assert "podbuild toolchain install" in hint
    assert place.repositories == []


def test_a_registry_that_is_not_there_is_named_and_the_summary_says_so(
    place: Place, tmp_path: Path
) -> None:
    shop = place.copy(tmp_path).having(
        GITHUB_STEP_SUMMARY=str(tmp_path / "step.md"),
        GITHUB_OUTPUT=str(tmp_path / "output"),
    )
    replaced("podbuild.toml", place.server.host, NOBODY)(shop)
    done = shop("release", "v1.2.3")
    assert done.code == 7, done.text
    said, hint = complaint(done)
    assert said.startswith(f"podbuild: {NOBODY}: ")
    assert "connection refused" in said
    assert "check that the registry is up" in hint
    summary = (tmp_path / "step.md").read_text()
    assert summary == (shop.root / "dist/summary.md").read_text()
    assert "connection refused" in summary
    assert "(exit code 7)" in summary
    assert "No tag was moved." in summary
    metadata = json.loads((shop.root / "dist/metadata.json").read_text())
    assert (metadata["result"], metadata["failure"]["exit_code"]) == ("failed", 7)
    assert json.loads((shop.root / "dist/artifacts.json").read_text())["artifacts"] == []
    assert "failed" in (tmp_path / "output").read_text()


def test_a_web_page_is_no_registry(place: Place, tmp_path: Path) -> None:
    shop = place.copy(tmp_path)
    with fault_proxy(place.server.host, Script(On("GET", "/v2/", fault=HTML, times=99))) as proxy:
        replaced("podbuild.toml", place.server.host, proxy.host)(shop)
        done = shop("release", "v1.2.3")
    assert done.code == 7, done.text
    said, hint = complaint(done)
    assert "answers with a web page (200) where a registry should be" in said
    assert "proxy or a login page" in hint
    assert place.repositories == []


def test_a_closed_pipe_is_the_readers_right(place: Place, tmp_path: Path) -> None:
    shop = place.copy(tmp_path)
    with shop.start("plan", "v1.2.3") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")


def test_help_is_no_failure_in_one_line(place: Place) -> None:
    done = place.shop()
    assert done.code == 2
    assert done.out.startswith("Usage: podbuild")
    assert len(done.out.splitlines()) > 20
    assert done.err == ""
