"""A whole release to two plain registries and one with TLS and a login, read by other tools."""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podbuild.system.records import JSONValue
from tests.builds import NATIVE
from tests.registries import NOBODY, Server, make_authority, registry_server
from tests.shops import BOTH, MACHINES, Done, Shop, new_shop, oci_registry
from tests.toolchains import skopeo

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
IMAGES = ("app", "probe")
SECRET = secrets.token_hex(20)
PASSWORD = secrets.token_hex(20)
TAGS = {"1.2.3", "1.2", "1", "latest"}


@dataclass(kw_only=True)
class Watch:
    """What a release shows to everyone (argvs), and the staging passwords that it made up.

    Its own alone: `mine` is a folder that all its processes are told of.
    """

    mine: Path
    argvs: set[bytes] = field(default_factory=set)
    passwords: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Look once."""
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.argvs.add(process.read_bytes())
            except OSError:  # it has ended
                continue
        for process in Path("/proc").glob("[0-9]*/environ"):
            try:
                known = login_files(process, self.mine)
                logins = [each for file in known for each in logins_in(file)]
            except (OSError, ValueError):  # another's, ended, just made, just removed
                continue
            self.passwords |= {text for login in logins for text in login_texts(login)}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look again and again while the block runs."""
        over = threading.Event()

        def look_on() -> None:
            while not over.wait(0.02):
                self.look()

        watcher = threading.Thread(target=look_on)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def login_files(environment: Path, mine: Path) -> list[Path]:
    """Give the file of logins that a process of ours is told of, in the file system it sees."""
    mark = b"REGISTRY_AUTH_FILE=/"
    said = environment.read_bytes()
    ours = said.split(b"\0") if os.fsencode(mine) in said else []
    told = [each for each in ours if each.startswith(mark)]
    return [environment.with_name("root") / each[len(mark) :].decode() for each in told]


def logins_in(file: Path) -> list[str]:
    """Give the logins in a file, as it has them."""
    return [each["auth"] for each in json.loads(file.read_bytes()).get("auths", {}).values()]


def login_texts(basic: str) -> tuple[str, str]:
    """Give a login as the auth file has it, and its password alone."""
    return basic, base64.b64decode(basic).decode().partition(":")[2]


@dataclass(frozen=True, kw_only=True)
class Released:
    """A released shop, where it went, and what was seen on the way."""

    shop: Shop
    servers: tuple[Server, ...]
    done: Done
    watch: Watch

    def raw(self, server: Server, image: str, tag: str = "1.2.3") -> bytes:
        """Give the bytes that a tag names, as skopeo reads them."""
        name = f"docker://{server.host}/acme/{image}:{tag}"
        return skopeo("inspect", "--raw", *options(server), name)

    def config(self, image: str, platform: str) -> dict[str, JSONValue]:
        """Give the config of one platform's image."""
        server = self.servers[0]
        system, architecture = platform.split("/")
        chosen = (f"--override-os={system}", f"--override-arch={architecture}")
        name = f"docker://{server.host}/acme/{image}:1.2.3"
        return as_object(skopeo(*chosen, "inspect", "--config", "--raw", *options(server), name))


def as_object(data: bytes) -> dict[str, JSONValue]:
    found = json.loads(data)
    assert isinstance(found, dict)
    return found


def options(server: Server, prefix: str = "") -> tuple[str, ...]:
    """Give skopeo's options for a registry."""
    if server.ca is None:
        return (f"--{prefix}tls-verify=false",)
    folder = server.ca.parent / "for-skopeo"
    folder.mkdir(exist_ok=True)
    (folder / "ca.crt").write_bytes(server.ca.read_bytes())
    login = f"{server.username}:{server.password}"
    return (f"--{prefix}cert-dir={folder}", f"--{prefix}creds={login}")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("everywhere")
    authority = make_authority(folder / "authority")
    with ExitStack() as stack:
        one, two = (stack.enter_context(registry_server()) for _ in range(2))
        safe = stack.enter_context(registry_server(login=("bot", PASSWORD), authority=authority))
        tables = (
            oci_registry("one", one.host, "insecure = true"),
            oci_registry("two", two.host, "insecure = true"),
            oci_registry("safe", safe.host, f'ca = "{safe.ca}"'),
        )
        shop = new_shop(folder, "".join(tables)).having(
            NPM_SECRET=SECRET, PODBUILD_SAFE_USERNAME="bot", PODBUILD_SAFE_TOKEN=PASSWORD
        )
        stack.callback(shop, "clean", "--keep", "0")
        watch = Watch(mine=folder)
        with watch.watching():
            done = shop("release", "v1.2.3", "-v")
        assert done.code == 0, done.text
        yield Released(shop=shop, servers=(one, two, safe), done=done, watch=watch)


@pytest.mark.parametrize("image", IMAGES)
def test_every_registry_holds_the_same_index_byte_for_byte(released: Released, image: str) -> None:
    held = {released.raw(server, image, tag) for server in released.servers for tag in sorted(TAGS)}
    assert len(held) == 1
    children = json.loads(held.pop())["manifests"]
    platforms = [
        f"{child['platform']['os']}/{child['platform']['architecture']}" for child in children
    ]
    assert platforms == list(BOTH)


def test_the_base_is_published_nowhere(released: Released) -> None:
    for server in released.servers:
        assert not (server.storage / "docker/registry/v2/repositories/acme/base").exists()


@pytest.mark.parametrize("image", IMAGES)
def test_index_says_what_it_is_and_children_say_what_is_stable(
    released: Released, image: str
) -> None:
    index = as_object(released.raw(released.servers[2], image))
    annotations = index["annotations"]
    assert isinstance(annotations, dict)
    prefix = "org.opencontainers.image"
    assert annotations[f"{prefix}.version"] == "1.2.3"
    assert annotations[f"{prefix}.revision"] == released.shop.git("rev-parse", "HEAD").strip()
    assert annotations[f"{prefix}.created"] == "2023-11-14T22:13:20Z"
    for platform in BOTH:
        config = released.config(image, platform)["config"]
        assert isinstance(config, dict)
        labels = config["Labels"]
        assert isinstance(labels, dict)
        assert labels[f"{prefix}.title"] == image
        assert labels[f"{prefix}.source"] == "https://example.com/acme/shop"
        assert not {f"{prefix}.version", f"{prefix}.revision", f"{prefix}.created"} & labels.keys()


@pytest.mark.parametrize("platform", BOTH)
def test_the_health_check_is_kept(released: Released, platform: str) -> None:
    config = released.config("probe", platform)["config"]
    assert isinstance(config, dict)
    assert config["Healthcheck"] == {"Test": ["CMD", "cat", "/probe"], "Interval": 10_000_000_000}


@pytest.fixture(scope="module")
def copied(released: Released, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Copy both images to folders with skopeo; give a project that has them as its registry."""
    table = '[registries.copied]\nkind = "layout"\npath = "copied/{image}"\n'
    shop = new_shop(tmp_path_factory.mktemp("copied"), table)
    folder = shop.root / "copied"
    folder.mkdir()
    for image, server in zip(IMAGES, released.servers[1:], strict=True):
        source = f"docker://{server.host}/acme/{image}:1.2.3"
        skopeo("copy", "--all", *options(server, "src-"), source, f"oci:{folder}/{image}:1.2.3")
    return shop


@pytest.mark.parametrize("platform", BOTH)
@pytest.mark.parametrize(
    ("image", "said"),
    [("app", "hello from the shop\nmade in a heredoc\n{}\n"), ("probe", "probed\n{}\n")],
)
def test_images_run_and_show_what_heredocs_made(
    copied: Shop, image: str, platform: str, said: str
) -> None:
    ran = copied("run", "--platform", platform, f"{image}:1.2.3")
    assert ran.code == 0, ran.err
    assert ran.out == said.format(MACHINES[platform])


def test_no_secret_stands_anywhere(released: Released) -> None:
    watch, shop = released.watch, released.shop
    assert any(b"buildah" in argv and b"--secret" in argv for argv in watch.argvs)
    assert watch.passwords  # staging's were seen
    basic = base64.b64encode(f"bot:{PASSWORD}".encode()).decode()
    words = [word.encode() for word in (SECRET, PASSWORD, basic, *watch.passwords)]
    assert not [argv for argv in watch.argvs for word in words if word in argv]
    assert not [word for word in words if word in released.done.text.encode()]
    blobs = Path(shop.environment["XDG_CACHE_HOME"]) / "podbuild/blobs"
    folders = (shop.root, blobs, *(server.storage for server in released.servers))
    files = [file for folder in folders for file in readable(folder)]
    assert len(files) > 100
    assert not [file for file in files if any(word in unpacked(file) for word in words)]


def readable(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def unpacked(file: Path) -> bytes:
    """Give a layer's archive; anything else as it is."""
    data = file.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_a_shallow_clone_with_old_files_gives_the_same_digests(
    released: Released, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    released.shop.git(
        "clone", "-q", "--depth=1", "-b", "v1.2.3", released.shop.root.as_uri(), str(clone)
    )
    for path in readable(clone / "base"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    layout = '[registries.here]\nkind = "layout"\npath = "dist/registry/{image}"\n'
    config = (clone / "podbuild.toml").read_text()
    again = Shop(root=clone, environment=released.shop.environment).having(
        XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    again.write("podbuild.toml", config[: config.index("[registries.one]")] + layout)
    again.git("update-index", "--assume-unchanged", "podbuild.toml")  # the same commit
    done = again("release", "v1.2.3")
    assert done.code == 0, done.text
    assert again("clean", "--keep", "0").code == 0
    for image in IMAGES:
        index = json.loads(skopeo("inspect", "--raw", f"oci:{clone}/dist/registry/{image}:1.2.3"))
        other = json.loads(released.raw(released.servers[0], image))
        assert children(index) == children(other)


def children(index: Mapping[str, JSONValue]) -> list[JSONValue]:
    found = index["manifests"]
    assert isinstance(found, list)
    assert len(found) == 2
    return [child["digest"] for child in found if isinstance(child, dict)]


def state(servers: tuple[Server, ...]) -> dict[str, int]:
    """Give all files of registries with the time of their last change.

    The server itself keeps a little of uploads that were cancelled, as asking for the right to
    push does.
    """
    return {
        str(file): file.stat().st_mtime_ns
        for server in servers
        for file in readable(server.storage)
        if "_uploads" not in file.parts
    }


def test_a_finished_release_is_a_no_op(released: Released) -> None:
    before = state(released.servers)
    watch = Watch(mine=released.shop.root)
    with watch.watching():
        done = released.shop("release", "v1.2.3")
    assert done.code == 0, done.text
    assert "nothing to build" in done.err
    assert done.out.count("adopted: published already") == len(IMAGES) * len(BOTH)
    mine = os.fsencode(released.shop.root)
    assert not [argv for argv in watch.argvs if mine in argv and b"\0build\0" in argv]
    assert state(released.servers) == before
    digest = released.shop.root / "dist/digests.txt"
    assert len(digest.read_text().splitlines()) == len(IMAGES) * 3 * len(TAGS)


def test_verify_reads_everything_back(released: Released) -> None:
    done = released.shop("verify", "1.2.3")
    assert done.code == 0, done.text
    assert len(done.out.splitlines()) == len(IMAGES) * 3


def test_an_optional_registry_that_is_down_is_left_out(released: Released) -> None:
    shop = released.shop
    config = (shop.root / "podbuild.toml").read_text()
    down = oci_registry("spare", NOBODY, "insecure = true", "required = false")
    shop.write("podbuild.toml", config + down)
    shop.commit("v1.2.4")
    try:
        done = shop("release", "v1.2.4")
    finally:
        shop.git("reset", "-q", "--hard", "v1.2.3")
    assert done.code == 0, done.text
    assert "warning: " in done.err
    assert "spare" in done.text
    one, two, safe = (released.raw(server, "app", "1.2.4") for server in released.servers)
    assert one == two == safe


def test_a_base_comes_from_a_registry_with_its_own_ca_and_login(
    released: Released, tmp_path: Path
) -> None:
    safe = released.servers[2]
    shop = Shop(root=tmp_path / "kid", environment=released.shop.environment)
    shop.write(
        "podbuild.toml",
        f'[project]\nname = "kid"\n[images.kid]\nplatforms = ["{NATIVE}"]\ncontext = "kid"\n'
        + oci_registry("safe", safe.host, f'ca = "{safe.ca}"'),
    )
    base = f"FROM {safe.host}/acme/app:1.2.3\nRUN grep heredoc /heredoc\n"
    shop.write("kid/Containerfile", base)
    shop.write(".gitignore", "/dist/\n")
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.0.0")
    done = shop("release", "v1.0.0")
    assert done.code == 0, done.text
    assert as_object(released.raw(safe, "kid", "1.0.0"))["config"]
