"""Images are tried before a tag names them: on every platform, apart from all else, to the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.builds import busybox
from tests.shops import BASE, Done, Shop, environment

pytestmark = pytest.mark.integration

# Both platforms listen on the same port at the same time, for a user who may not on this machine.
WEB = """\
FROM base
RUN <<EOF
mkdir /www
echo hello > /www/index.html
echo app:x:1000:1000::/www:/bin/sh > /etc/passwd
EOF
USER app
WORKDIR /www
ENV GREETING=hi
HEALTHCHECK CMD wget -q -O - http://localhost/
CMD ["httpd", "-f", "-p", "80"]
"""
GOOD = """\
[[images.web.tests]]
start = true
http = "http://127.0.0.1/index.html"
match = '^hello$'
[[images.web.tests]]
run = ["sh", "-c", "read x; echo $x $GREETING $MODE $(id -u); env; ls / /proc /run; mount"]
stdin = "typed"
env = { MODE = "test" }
user = "7"
match = "^typed hi test 7$"
"""
# What each of these leaves running has this number in its command line, and nobody else's.
MARK = 200_000 + os.getpid() % 700_000
BAD = f"""\
[images.bad]
context = "bad"
contexts = {{ base = "image:base" }}
platforms = ["linux/amd64"]
budget = {{ ready = "1s" }}
[[images.bad.tests]]
run = ["sh", "-c", "trap '' TERM; setsid sleep {MARK} & sleep {MARK}"]
within = "1s"
[[images.bad.tests]]
run = ["sh", "-c", "for i in $(seq 300); do sleep {MARK} & done; wait"]
within = "2s"
[[images.bad.tests]]
run = ["sh", "-c", "yes {MARK}"]
within = "2s"
[[images.bad.tests]]
start = true
http = "http://127.0.0.1:81/"
within = "1s"
[[images.bad.tests]]
start = true
match = "^slow"
[[images.bad.tests]]
run = ["sh", "-c", "setsid sleep {MARK} & echo done"]
match = "^done$"
"""
# A scanner that finds something in one image, and says what it was given.
SCAN = """\
#!/bin/sh
test -f "$1/oci-layout" || exit 8
grep -q "$PODBUILD_DIGEST" "$PODBUILD_LAYOUT/index.json" || exit 9
printf '{"version": "2.1.0", "runs": [], "for": "%s"}' "$PODBUILD_PLATFORM $(env | tr -d '\\n"')"
[ "$PODBUILD_IMAGE" != bad ] || { echo "far too bad" >&2; exit 3; }
"""
CHECK = """\
[[checks]]
run = ["./scan.sh", "$PODBUILD_LAYOUT"]
env = ["SCAN_TOKEN"]
"""
HANG = f"""\
[[images.web.tests]]
run = ["sh", "-c", "trap '' TERM INT; echo begun; setsid sleep {MARK} & sleep {MARK}"]
within = "90s"
platforms = ["linux/amd64"]
"""


def write_configuration(shop: Shop, more: str = GOOD) -> None:
    shop.write(
        "podbuild.toml",
        '[project]\nname = "shop"\n[images.base]\ncontext = "base"\npublish = false\n'
        f'[images.web]\ncontext = "web"\ncontexts = {{ base = "image:base" }}\n{more}',
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("tried")
    shop = Shop(root=folder / "shop", environment=environment(folder))
    secret = "tell nobody"
    shop = shop.having(PODBUILD_NPM_TOKEN=secret, MY_SECRET=secret, SCAN_TOKEN="hand this on")
    shop.write("scan.sh", SCAN).chmod(0o755)
    shop.write("base/Containerfile", BASE.replace("mkdir /tmp", "mkdir -p /tmp /run"))
    for each in ("amd64", "arm64"):
        shutil.copyfile(busybox(each), shop.root / f"base/busybox-{each}")
    shop.write("web/Containerfile", WEB)
    slow = 'CMD ["sh", "-c", "sleep 1.5; echo slow; sleep 100"]\n'
    shop.write("bad/Containerfile", f"FROM base\n{slow}")
    shop.write(".gitignore", "/dist/\n")
    write_configuration(shop, GOOD + BAD + CHECK)
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.0.0")
    yield shop
    shop("clean", "--keep", "0")


def left(shop: Shop) -> list[str]:
    """Give what runs or is mounted of these tests, once no more of it ends.

    What was killed needs its time to end; what nobody killed would last for days.
    """
    until = time.monotonic() + 300
    while (found := present(shop)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def present(shop: Shop) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue
        if re.search(rb"\b%d\b" % MARK, words):
            found.append(words.decode())
    runs = Path(shop.environment["XDG_CACHE_HOME"], "podbuild/runs")
    found += [each.name for each in runs.iterdir() if each.is_dir()]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(runs) in line]
    return found


def cases(shop: Shop) -> dict[str, str]:
    """Give what JUnit says of each test: nothing (it passed), failure or skipped."""
    tree = ET.parse(shop.root / "dist/logs/junit.xml")  # noqa: S314  # our own
    return {
        str(case.get("name")): "".join(each.tag for each in case if each.tag != "system-out")
        for case in tree.iter("testcase")
        if str(case.get("classname")).endswith(".tests")
    }


@pytest.fixture(scope="module")
def refused(shop: Shop) -> Done:
    done = shop("release", "v1.0.0", "--no-progress")
    assert done.code == 10, done.text
    return done


def test_nothing_is_tagged_where_a_test_fails_and_all_are_judged(shop: Shop, refused: Done) -> None:
    assert "Traceback" not in refused.text
    indexes = [path.read_text() for path in shop.root.glob("dist/registry/*/index.json")]
    assert not any("image.ref.name" in each for each in indexes)
    rules = ("[test]", "[budget-ready]", "[check]")
    said = [line for line in refused.err.splitlines() if line.endswith(rules)]
    for what in (
        f"setsid sleep {MARK} & sleep...: it still ran after 1 s [test]",
        f"$(seq 300); do sleep {MARK} & done; wait...: it still ran after 2 s [test]",
        f"run sh -c 'yes {MARK}': it still ran after 2 s [test]",
        "GET http://127.0.0.1:81/: http://127.0.0.1:81/ gave no answer",
        "and its budget is 1 s [budget-ready]",
        "bad linux/amd64: check scan.sh: it ended with code 3: far too bad [check]",
    ):
        assert sum(what in line for line in said) == 1, refused.err
    assert len(said) == 6, refused.err
    assert all("podbuild.toml:" in line for line in said)


def test_a_command_gets_the_image_and_no_secret_but_its_own(shop: Shop, refused: Done) -> None:
    assert refused.code
    kept = [*shop.root.glob("dist/logs/*-check-scan.sh.sarif")]
    jobs = {"bad-linux-amd64", "web-linux-amd64", "web-linux-arm64"}
    assert {each.name.partition("-check")[0] for each in kept} == jobs
    for each in kept:
        said = json.loads(each.read_text())["for"]
        assert said.startswith(("linux/amd64 ", "linux/arm64 "))
        assert "tell nobody" not in said
        assert "MY_SECRET=" not in said
        assert "SCAN_TOKEN=" in said


def test_nothing_of_a_test_is_left(shop: Shop, refused: Done) -> None:
    assert refused.code
    assert not left(shop)
    log = shop.root / "dist/logs/bad-linux-amd64-test-3.log"
    assert log.stat().st_size < 9 << 20, "what is said has no end"


def test_every_platform_is_tried_apart_from_all_else(shop: Shop, refused: Done) -> None:
    assert refused.code
    found = {name: how for name, how in cases(shop).items() if name.endswith("(linux/arm64)")}
    assert len(found) == 4
    assert set(found.values()) == {""}
    log = (shop.root / "dist/logs/web-linux-arm64-test-2.log").read_text()
    assert "tell nobody" not in log
    assert "PODBUILD" not in log
    mounts = [line.split()[2] for line in log.splitlines() if " type " in line]
    assert all(each == "/" or each.startswith(("/dev", "/proc", "/sys")) for each in mounts), log


def test_what_passed_is_not_tried_again_unless_it_changed(shop: Shop, refused: Done) -> None:
    assert refused.code
    write_configuration(shop, GOOD.replace("'^hello$'", "'hello'"))
    shop.commit("v1.0.1")
    done = shop("release", "v1.0.1", "--no-progress", "--json")
    assert done.code == 0, done.text
    report = json.loads(done.out)
    tests = {(each["name"].split()[0], each["platform"]): each for each in report["tests"]}
    assert {key: each["earlier"] for key, each in tests.items()} == {
        (name, platform): name != "GET"
        for name in ("HEALTHCHECK", "GET", "run")
        for platform in ("linux/amd64", "linux/arm64")
    }
    assert tests["GET", "linux/arm64"]["ready_seconds"] > 0


def test_a_published_or_staged_image_runs_for_any_platform(shop: Shop, refused: Done) -> None:
    assert refused.code
    there = shop("run", "--platform", "linux/arm64", "web:1.0.1", "sh", "-c", "uname -m; exit 7")
    assert (there.code, there.out) == (7, "aarch64\n"), there.text
    here = shop("run", "-e", "A=b", "--entrypoint", "sh", "web", "-c", 'echo "$A $(id -u)"')
    assert (here.code, here.out) == (0, "b 1000\n"), here.text
    unknown = shop("run", "-u", "99999999:7", "web")
    assert (unknown.code, unknown.out) == (126, ""), unknown.text
    assert "user 99999999, group 7: not among the ids" in unknown.err
    assert shop("run", "web:9.9.9").code == 3
    assert shop("run", "nosuch").code == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_what_runs_in_the_foreground(
    shop: Shop, refused: Done, number: int, code: int
) -> None:
    assert refused.code
    with shop.start(
        "run", "--entrypoint", "sh", "web:1.0.1", "-c", f"echo on; exec sleep {MARK}"
    ) as it:
        assert it.stdout
        assert it.stdout.readline() == "on\n"
        it.send_signal(number)  # to it alone, as supervisors do
        it.communicate()
    assert it.returncode == code
    assert not left(shop)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stop_leaves_nothing(shop: Shop, refused: Done, number: int, code: int) -> None:
    assert refused.code
    write_configuration(shop, GOOD + HANG)
    assert shop("build", "web").code == 0
    log = shop.root / "dist/logs/web-linux-amd64-test-3.log"
    log.unlink(missing_ok=True)
    process = shop.start("test", "web", "--platform", "linux/amd64")
    while not log.exists() or "begun\n" not in log.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    write_configuration(shop)
    assert shop("build", "web").code == 0
    assert shop("test", "web").code == 0  # the next run removes what a kill left
    assert not left(shop)
