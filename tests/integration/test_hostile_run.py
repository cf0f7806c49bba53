"""RUN steps that attack the release which builds them: what they find, and what they can't do."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.job import Attempted, staged_image
from podbuild.build.jobs import build_all
from podbuild.build.staging.rights import Login
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import BuildError
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from tests.builds import NATIVE, Bench, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

FOREIGN = Platform("linux", next(x for x in ("arm64", "amd64") if x != native_architecture()))
PLATFORMS = (NATIVE, FOREIGN)

# Every file that any process shows, and every device, goes into the image.
SPY = """\
FROM base
RUN <<'END'
set -u
exec 2>/dev/null
mkdir /loot
for place in /proc/[0-9]*; do
    for name in environ root/etc/hostname cwd/lease maps; do cat $place/$name >> /loot/read; done
    ls -A $place/fd/ $place/root/ $place/cwd/ >> /loot/listed
    readlink $place/exe >> /loot/programs
    for file in $place/fd/*; do readlink $file >> /loot/open; done
    (true >> $place/exe) && echo $place >> /loot/changed
done
for file in /dev/* /dev/net/* /proc/[!0-9]* /proc/*/drivers /sys /sys/*; do
    [ -L $file ] || ! chmod $(stat -c %a $file) $file || echo $file >> /loot/modes
done
cat /proc/self/mountinfo > /loot/mounts
ls -AR /dev > /loot/devices
ls -A /dev/shm /dev/mqueue > /loot/memory
cat /proc/sysvipc/shm > /loot/sysv
cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' > /loot/words
echo left > /dev/shm/left
(echo to the terminal > /dev/tty) && echo terminal >> /loot/changed
for folder in $(tr '=:,' '\\n\\n\\n' < /loot/words | grep '/hostile[-]'); do
    [ -e $folder ] && echo $folder >> /loot/reached
done
true
END
"""


@pytest.fixture(scope="module", params=[*EngineKind], ids=str)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Give a project; what the next project's run leaves meanwhile lies beside it."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    made = new_bench(folder / "bench", request.param)
    yield made
    remove_bench(made)
    shutil.rmtree(folder)


def spied(bench: Bench, *platforms: Platform) -> list[tuple[Login, dict[str, str]]]:
    """Build the spy and give staging's login with what it took along, platform by platform."""
    bench.write("spy/Containerfile", SPY)
    quoted = ", ".join(f'"{platform}"' for platform in platforms)
    toml = f"[defaults]\nplatforms = [{quoted}]\n{bench.write_base(*platforms)}"
    toml += '[images.spy]\ncontext = "spy"\ncontexts = { base = "image:base" }\n'
    found = []
    with opened(bench, *platforms) as site:
        built = site.build(toml)
        for platform in platforms:
            files = site.files("spy", built.images[Job("spy", platform)].manifest)
            loot = {
                name.removeprefix("loot/"): data.decode(errors="replace")
                for name, data in files.items()
                if name.startswith("loot/")
            }
            found.append((site.registry.login, loot))
    return found


def test_a_run_step_finds_nothing_of_its_run_and_changes_nothing_outside(bench: Bench) -> None:
    for login, loot in spied(bench, *PLATFORMS):
        seen = "".join(loot.values())
        assert login.password not in seen
        assert login.basic not in seen
        assert "auth.json" not in seen
        assert "PODBUILD_BUILD_SECRET" not in seen
        devices = set(loot["devices"].split())
        assert {"null", "zero", "full", "random", "urandom", "shm:", "tty"} & devices
        assert not {name for name in devices if name.startswith(("podbuild", "kvm", "loop"))}
        assert loot["memory"].split() == ["/dev/mqueue:", "/dev/shm:"]
        assert len(loot["sysv"].splitlines()) <= 1
        assert "changed" not in loot, loot["changed"]
        assert "hostile-" in loot["words"]  # it knows where to look
        assert "reached" not in loot, loot["reached"]
        # root would change the machine's own devices, and /proc for everyone
        folders = {"/dev/shm", "/dev/mqueue", "/dev/pts"}
        assert set(loot.get("modes", "").split()) <= folders
        mounts = [line.split() for line in loot["mounts"].splitlines()]
        nodes = {each[4]: each[5].split(",") for each in mounts if each[4].startswith("/dev/")}
        assert {"/dev/null", "/dev/zero", "/dev/urandom"} <= nodes.keys()
        assert not [name for name in nodes.keys() - folders if "ro" not in nodes[name]]


def test_what_a_run_step_leaves_in_memory_no_other_finds(bench: Bench) -> None:
    bench.write("spy/Containerfile", "FROM base\nRUN echo left > /dev/shm/left\n")
    bench.write("later/Containerfile", "FROM base\nRUN mkdir /loot && ls -A /dev/shm > /loot/x\n")
    toml = bench.write_base(NATIVE) + (
        '[images.spy]\ncontext = "spy"\ncontexts = { base = "image:base" }\n'
        '[images.later]\ncontext = "later"\n'
        'contexts = { base = "image:base", spy = "image:spy" }\n'
    )
    with opened(bench) as site:
        built = site.build(f'[defaults]\nplatforms = ["{NATIVE}"]\n{toml}')
        files = site.files("later", built.images[Job("later", NATIVE)].manifest)
    assert files["loot/x"] == b""


def test_the_run_s_folder_is_seen_by_its_own_namespace_alone(bench: Bench) -> None:
    with opened(bench) as site:
        files = site.workplace.files
        assert files.here(files.auth).read_text()
        assert [path.name for path in files.folder.iterdir()] == ["lease"]


def test_folders_below_dev_shm_serve_engines_and_stay_hidden(
    request: pytest.FixtureRequest,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir="/dev/shm"))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    made = new_bench(folder / "bench", EngineKind.BUILDAH)
    request.addfinalizer(lambda: remove_bench(made))
    for login, loot in spied(made, NATIVE):
        assert login.basic not in "".join(loot.values())
        assert "changed" not in loot, loot["changed"]
        assert "hostile-" in loot["words"]  # it knows where to look
        assert "reached" not in loot, loot["reached"]
        assert loot["memory"].split() == ["/dev/mqueue:", "/dev/shm:", folder.name]


def test_copies_of_secrets_are_in_memory_alone(bench: Bench) -> None:
    """Those too that no variable can hold; and no digest of them gets into the image."""
    bench.write(
        "spy/Containerfile",
        "FROM base\nRUN --mount=type=secret,id=key,required=true --mount=type=cache,target=/c "
        "--mount=type=secret,id=store,target=/etc/deep/store,mode=0440,uid=7,gid=8,required=true "
        "mkdir /loot && cat /run/secrets/key /etc/deep/store | wc -c > /loot/size && "
        "stat -c %a:%u:%g /run/secrets/key /etc/deep/store > /loot/modes && "
        "grep -E ' /run/secrets/| /etc/deep' /proc/self/mountinfo > /loot/mounted\n",
    )
    content = b"\0" + b"store" * 30_000
    (bench.project / "store").write_bytes(content)
    toml = bench.write_base(NATIVE) + (
        '[images.spy]\ncontext = "spy"\ncontexts = { base = "image:base" }\n'
        'secrets = [{ id = "key", env = "SPY_KEY" }, { id = "store", file = "store" }]\n'
    )
    with_secret = replace(bench, environment={"SPY_KEY": "s3cr3t value"})
    with opened(with_secret) as site:
        built = site.build(f'[defaults]\nplatforms = ["{NATIVE}"]\n{toml}')
        manifest = built.images[Job("spy", NATIVE)].manifest
        files = site.files("spy", manifest)
        assert manifest.config
        config = site.registry.staging.pool.path(manifest.config.digest).read_text()
    assert int(files["loot/size"]) == 12 + len(content)
    assert files["loot/modes"].split() == [b"400:0:0", b"440:7:8"]
    mounted = files["loot/mounted"].splitlines()
    assert len(mounted) == 2
    assert all(b" - tmpfs podbuild " in line for line in mounted)
    assert hashlib.sha256(content).hexdigest() not in config
    (made,) = (x["created_by"] for x in json.loads(config)["history"] if "/loot" in str(x))
    assert "sha256:" not in made


def test_a_delivery_in_another_s_name_is_not_taken(bench: Bench) -> None:
    """Even whoever had a login could only spoil its own image: another id than the engine's."""
    bench.write("spy/Containerfile", "FROM base\nRUN echo right > /right\n")
    toml = bench.write_base(NATIVE) + (
        '[images.spy]\ncontext = "spy"\ncontexts = { base = "image:base" }\n'
    )
    with opened(bench) as site:
        plan = site.bench.plan(f'[defaults]\nplatforms = ["{NATIVE}"]\n{toml}')
        work = site.work(plan)
        built = build_all(work).images[Job("spy", NATIVE)]
        wrong = Attempted(image_id="0" * 64, metrics=built.metrics, delivered=built.manifest)
        with pytest.raises(BuildError, match="not what the engine made"):
            staged_image(work.site, work.recipes[built.job], wrong)


def test_what_a_step_leaves_running_ends_with_it(bench: Bench) -> None:
    """As in BuildKit: later steps have secrets. What a step starts for itself serves to its end."""
    bench.write(
        "spy/Containerfile",
        "FROM base\n"
        "RUN setsid sh -c 'while :; do usleep 1000; done' </dev/null >/dev/null 2>&1 &\n"
        "RUN (trap '' HUP TERM; exec sleep 1234) & echo it keeps the output open\n"
        "RUN (setsid sh -c 'usleep 700000; echo served > /tmp/served' &); "
        "while ! [ -e /tmp/served ]; do usleep 10000; done\n"
        "RUN --mount=type=secret,id=key usleep 100000; mkdir /loot; "
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' > /loot/running\n",
    )
    toml = bench.write_base(NATIVE) + (
        '[images.spy]\ncontext = "spy"\ncontexts = { base = "image:base" }\n'
        'secrets = [{ id = "key", env = "SPY_KEY" }]\ntimeout = "2m"\n'
    )
    with opened(replace(bench, environment={"SPY_KEY": "s3cr3t value"})) as site:
        built = site.build(f'[defaults]\nplatforms = ["{NATIVE}"]\n{toml}')
        files = site.files("spy", built.images[Job("spy", NATIVE)].manifest)
    running = files["loot/running"].decode(errors="replace")
    assert "/loot/running" in running
    assert "sleep 1234" not in running
    assert "while :" not in running
    assert files["tmp/served"] == b"served\n"
