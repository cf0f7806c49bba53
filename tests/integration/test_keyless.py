"""Signing without a key, against a private sigstore; and with keys that only cosign can use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from podbuild.oci.attach import Attachments
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.system.cancel import Cancel
from tests.fakes.sigstore import ISSUER, Sigstore, identity_token, private_sigstore
from tests.fakes.wire import Reply, Request
from tests.registries import Server, registry_server
from tests.shops import Shop, environment, oci_registry
from tests.signing import run_reader

pytestmark = pytest.mark.integration

WORKFLOW = "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/v"
CONFIG = """\
[project]
name = "shop"

[images.web]
context = "web"
platforms = ["linux/amd64", "linux/arm64"]
"""
KEYLESS = f"""
[attest.sign]
keyless = true
identity = "{WORKFLOW}{{version}}"
issuer = "{ISSUER}"
trust = "sigstore.json"
"""


def write_shop(folder: Path, *tables: str) -> Shop:
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop.root.mkdir(parents=True)
    shop.write("podbuild.toml", CONFIG + "".join(tables))
    shop.write(".gitignore", "/dist/\n")
    shop.write("web/Containerfile", "FROM scratch\nCOPY file /\n")
    shop.write("web/file", "content")
    shop.git("init", "-q", "-b", "main")
    return shop


def top(store: RegistryStore, tag: str) -> Manifest:
    found = store.manifest(Tag(tag))
    assert found is not None
    return found


def attached(store: RegistryStore, subject: Digest) -> tuple[Digest, ...]:
    return Attachments(store, Cancel().sleep).of(subject)


@dataclass(frozen=True, kw_only=True)
class Keyless:
    """A project that signs without a key, and where it went."""

    shop: Shop
    sigstore: Sigstore
    servers: tuple[Server, Server]
    home: Path

    def running(self, version: str) -> Shop:
        """Give the project as the workflow of a version's tag runs it."""
        return self.shop.having(SIGSTORE_ID_TOKEN=identity_token(WORKFLOW + version))


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyless]:
    folder = tmp_path_factory.mktemp("keyless")
    with ExitStack() as stack:
        sigstore = stack.enter_context(private_sigstore())
        servers = tuple(stack.enter_context(registry_server()) for _ in range(2))
        tables = [
            oci_registry(name, server.host, "insecure = true")
            for name, server in zip(("one", "two"), servers, strict=True)
        ]
        shop = write_shop(folder, *tables, KEYLESS)
        shop.write("sigstore.json", sigstore.trust)
        shop.commit("v1.2.3")
        found = Keyless(
            shop=shop, sigstore=sigstore, servers=(servers[0], servers[1]), home=folder / "home"
        )
        done = found.running("1.2.3")("release", "v1.2.3")
        assert done.code == 0, done.text
        assert sigstore.issued == 1  # one certificate for all statements
        yield found


def test_cosign_verifies_who_signed_index_and_children(keyless: Keyless) -> None:
    root = keyless.home / "root.json"
    root.parent.mkdir(exist_ok=True)
    root.write_text(json.dumps(keyless.sigstore.trusted_root))
    who = (f"--trusted-root={root}", f"--certificate-oidc-issuer={ISSUER}")
    for server in keyless.servers:
        store = server.store("acme/web")
        index = top(store, "1.2.3")
        for digest in (index.digest, *(child.digest for child in index.children)):
            reference = store.reference(digest)
            for version, code in (("1.2.3", 0), ("1.2.4", 1)):
                named = f"--certificate-identity={WORKFLOW}{version}"
                found = run_reader(keyless.home, "cosign", "verify", *who, named, reference)
                assert bool(found.returncode) == bool(code), found.stderr
        kind = ("verify-attestation", "--type=slsaprovenance1")
        named = f"--certificate-identity={WORKFLOW}1.2.3"
        found = run_reader(
            keyless.home, "cosign", *kind, *who, named, store.reference(index.digest)
        )
        assert found.returncode == 0, found.stderr


def test_verify_needs_no_token_and_pins_the_version(keyless: Keyless) -> None:
    done = keyless.shop("verify", "1.2.3")
    assert done.code == 0, done.text
    assert "SBOM, provenance, signature" in done.out
    for server in keyless.servers:  # who may push, and nothing else, points a tag elsewhere
        store = server.store("acme/web")
        store.put_manifest(top(store, "1.2.3"), Tag("1.2.2"))
    moved = keyless.shop("verify", "1.2.2")
    assert moved.code == 9, moved.text
    assert "no signature of the accepted identity" in moved.err
    others = keyless.shop.root / "podbuild.toml"
    text = others.read_text()
    try:
        others.write_text(text.replace("acme/shop/.github", "acme/other/.github"))
        foreign = keyless.shop("verify", "1.2.3")
    finally:
        others.write_text(text)
    assert foreign.code == 9, foreign.text


def test_where_sigstore_python_is_missing_cosign_does_it(keyless: Keyless, tmp_path: Path) -> None:
    # An import hook of the interpreter, as an installation without the extra has it.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'sigstore' else find(name, *rest)\n"
    )
    cosign = shutil.which("cosign")
    assert cosign is not None
    bare = keyless.shop.having(PYTHONPATH=str(tmp_path))
    without = bare("verify", "1.2.3")
    assert without.code == 11, without.text
    assert "cosign" in without.err
    path = f"{Path(cosign).parent}:{bare.environment['PATH']}"
    done = bare.having(PATH=path)("verify", "1.2.3")
    assert done.code == 0, done.text


def test_a_run_again_signs_nothing(keyless: Keyless) -> None:
    before = keyless.sigstore.issued, len(keyless.sigstore.leaves)
    done = keyless.running("1.2.3")("release", "v1.2.3")
    assert done.code == 0, done.text
    assert (keyless.sigstore.issued, len(keyless.sigstore.leaves)) == before


def test_who_may_not_sign_builds_nothing(keyless: Keyless) -> None:
    shop = keyless.shop
    shop.write("web/file", "changed")
    shop.commit("v1.2.4")
    right = WORKFLOW + "1.2.4"
    for token, said in (
        (None, "and there is none"),
        ("no token", "is none (JWT)"),
        (identity_token(right.replace("release.yml", "other.yml")), "would sign as"),
        (identity_token(WORKFLOW + "1.2.3"), "would sign as"),
        (identity_token(right, issuer="https://example.com"), "is from https://example.com"),
    ):
        done = shop.having(SIGSTORE_ID_TOKEN=token)("release", "v1.2.4")
        assert done.code == 4, done.text
        assert said in done.err
        assert "hint:" in done.err
        assert "build: done" not in done.err


def test_an_outage_tags_nothing_and_the_same_command_finishes_it(keyless: Keyless) -> None:
    shop, sigstore = keyless.shop, keyless.sigstore
    shop.write("web/file", "changed")
    shop.commit("v1.2.5")
    shop = keyless.running("1.2.5")
    try:
        for part in ("signingCert", "log/entries"):
            sigstore.wire.before = lambda request, part=part: _down(request, part)  # type: ignore[misc]
            done = shop("release", "v1.2.5")
            assert done.code == 7, done.text
            assert "Traceback" not in done.err
            for server in keyless.servers:
                assert Tag("1.2.5") not in server.store("acme/web").tags()
    finally:
        sigstore.wire.before = lambda _request: None
    github = keyless.shop.having(
        GITHUB_ACTIONS="true",
        ACTIONS_ID_TOKEN_REQUEST_URL=f"http://{sigstore.wire.host}/github?api-version=2",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="of the job",
    )
    refused = github("release", "v1.2.5")
    assert refused.code == 4, refused.text
    assert "id-token: write" in refused.err
    sigstore.token = identity_token(WORKFLOW + "1.2.5")
    done = github("release", "v1.2.5")
    assert done.code == 0, done.text
    assert sigstore.token not in done.text
    verified = shop("verify", "latest")
    assert verified.code == 0, verified.text
    late = keyless.shop.having(SIGSTORE_ID_TOKEN=identity_token(WORKFLOW + "1.2.5", lives=-1))
    again = late("release", "v1.2.5")  # nothing is to be signed: nobody looks at its time
    assert again.code == 0, again.text


def _down(request: Request, part: str) -> Reply | None:
    return Reply(status=503, body=b"down") if part in request.path else None


@pytest.fixture(scope="module")
def cosign_path() -> str:
    found = shutil.which("cosign")
    assert found is not None
    return f"{Path(found).parent}:{environment(Path('/nowhere'))['PATH']}"


def test_a_key_file_of_cosign_signs_and_a_wrong_password_does_not(
    tmp_path: Path, cosign_path: str
) -> None:
    home = tmp_path / "keys"
    home.mkdir()
    made = run_reader(home, "cosign", "generate-key-pair", cwd=home, password="a password")
    assert made.returncode == 0, made.stderr
    sign = '\n[attest.sign]\nkey = "cosign.key"\npublic-key = "cosign.pub"\n'
    with registry_server() as server:
        shop = write_shop(tmp_path, oci_registry("one", server.host, "insecure = true"), sign)
        for name in ("cosign.key", "cosign.pub"):
            shutil.copyfile(home / name, shop.root / name)
        shop.write("podbuild.toml", (shop.root / "podbuild.toml").read_text().replace(
            ', "linux/arm64"', ""))  # fmt: skip
        shop.commit("v1.2.3")
        store = server.store("acme/web")
        without = shop.having(COSIGN_PASSWORD="a password")("release", "v1.2.3")
        assert without.code == 11, without.text
        assert "cosign" in without.err
        shop = shop.having(PATH=cosign_path)
        wrong = shop.having(COSIGN_PASSWORD="wrong")("release", "v1.2.3")
        assert wrong.code == 4, wrong.text
        assert "hint:" in wrong.err
        assert store.tags() == ()
        done = shop.having(PODBUILD_SIGN_PASSWORD="a password")("release", "v1.2.3")
        assert done.code == 0, done.text
        assert "a password" not in done.text
        key = f"--key={shop.root / 'cosign.pub'}"
        verify = ("cosign", "verify", key, "--insecure-ignore-tlog=true")
        found = run_reader(home, *verify, store.reference(Tag("1.2.3")))
        assert found.returncode == 0, found.stderr
        before = attached(store, top(store, "1.2.3").digest)
        again = shop.having(COSIGN_PASSWORD="a password")("release", "v1.2.3")
        assert again.code == 0, again.text
        assert attached(store, top(store, "1.2.3").digest) == before
        # The same key from a variable, as CI systems keep it; it needs no cosign to verify.
        text = (shop.root / "podbuild.toml").read_text()
        shop.write("podbuild.toml", text.replace('"cosign.key"', '"env:KEY"'))
        secret = (home / "cosign.key").read_text()
        shop.commit("v1.2.4")
        done = shop.having(KEY=secret, COSIGN_PASSWORD="a password")("release", "v1.2.4")
        assert done.code == 0, done.text
        verified = shop.having(PATH=environment(tmp_path)["PATH"])("verify", "1.2.4")
        assert verified.code == 0, verified.text
