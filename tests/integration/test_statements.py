"""A release with SBOM, provenance and signatures, judged by cosign and oras."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from podbuild.oci.attach import Attachments, fallback_tag, read_referrer
from podbuild.oci.classic import classic_tag
from podbuild.oci.keys import read_public_key
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.oci.signing import KeyAccepted, read_bundle
from podbuild.oci.statements import (
    BUNDLE,
    PROVENANCE,
    SPDX,
    Referrer,
    predicate_of,
)
from podbuild.system.cancel import Cancel
from podbuild.system.records import JSONValue
from tests.fakes.registry import forward
from tests.fakes.wire import Reply, Request, served
from tests.registries import Server, registry_server
from tests.shops import Shop, environment, oci_registry
from tests.signing import new_key, private_pem, public_pem, run_reader
from tests.toolchains import private_toolchain

pytestmark = pytest.mark.integration

CONFIG = """\
[project]
name = "shop"
source = "https://example.com/acme/shop"

[attest]
vex = "vex/{image}.json"
sign = { key = "env:SIGNING_KEY", public-key = "cosign.pub", podman = true }

[images.web]
context = "web"
platforms = ["linux/amd64", "linux/arm64"]
build-args = { FLAVOR = "{env.FLAVOR}" }

[images.tool]
context = "web"
containerfile = "web/Containerfile"
platforms = ["linux/amd64"]
"""
CONTAINERFILE = """\
FROM scratch
ARG FLAVOR=none
COPY root /
"""
STATUS = """\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b8

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
VEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://example.com/acme/shop/vex/1",
    "author": "acme",
    "timestamp": "2026-01-01T00:00:00Z",
    "version": 1,
    "statements": [
        {
            "vulnerability": {"name": "CVE-2026-0001"},
            "products": [{"@id": "pkg:oci/web"}],
            "status": "not_affected",
            "justification": "vulnerable_code_not_present",
        }
    ],
}
KEY = new_key()


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What one release left on two registries and in a layout."""

    shop: Shop
    servers: tuple[Server, Server]
    home: Path
    out: str

    def store(self, which: int = 0, image: str = "web") -> RegistryStore:
        return self.servers[which].store(f"acme/{image}")

    def reference(self, which: int = 0, image: str = "web") -> str:
        return f"{self.servers[which].host}/acme/{image}:1.2.3"

    def cosign(self, *argv: str) -> str:
        found = run_reader(self.home, "cosign", *argv)
        assert found.returncode == 0, found.stderr
        return found.stdout

    @property
    def public(self) -> tuple[str, ...]:
        path = str(self.shop.root / "cosign.pub")
        return ("--key", path, "--insecure-ignore-tlog=true")


def attached(store: RegistryStore | LayoutStore, subject: Digest) -> tuple[Digest, ...]:
    return Attachments(store, Cancel().sleep).of(subject)


def top(store: RegistryStore | LayoutStore, tag: str = "1.2.3") -> Manifest:
    found = store.manifest(Tag(tag))
    assert found is not None
    return found


def write_shop(folder: Path, *registries: str) -> Shop:
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop.root.mkdir(parents=True)
    shop.write("podbuild.toml", CONFIG + "".join(registries))
    shop.write(".gitignore", "/dist/\n")
    shop.write("cosign.pub", public_pem(KEY))
    shop.write("web/Containerfile", CONTAINERFILE)
    shop.write("vex/web.json", json.dumps(VEX))
    root = "web/root"
    shop.write(f"{root}/var/lib/dpkg/status", STATUS)
    shop.write(f"{root}/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    site = f"{root}/usr/lib/python3/dist-packages/six-1.16.0.dist-info"
    shop.write(f"{site}/METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n\nText\n")
    node = f"{root}/app/node_modules/@acme/left-pad"
    shop.write(f"{node}/package.json", '{"name": "@acme/left-pad", "version": "1.3.0"}')
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.2.3")
    return shop.having(SIGNING_KEY=private_pem(KEY), FLAVOR="slim")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    with ExitStack() as stack:
        servers = tuple(stack.enter_context(registry_server()) for _ in range(2))
        tables = [
            oci_registry(name, server.host, "insecure = true")
            for name, server in zip(("one", "two"), servers, strict=True)
        ]
        layout = '\n[registries.here]\nkind = "layout"\npath = "dist/registry/{image}"\n'
        shop = write_shop(folder, *tables, layout)
        done = shop("release", "v1.2.3")
        assert done.code == 0, done.text
        yield Signed(
            shop=shop, servers=(servers[0], servers[1]), home=folder / "home", out=done.text
        )


def subjects(signed: Signed, image: str = "web") -> tuple[Digest, ...]:
    index = top(signed.store(image=image))
    return (index.digest, *(child.digest for child in index.children))


@pytest.mark.parametrize("image", ["web", "tool"])
def test_the_same_referrers_are_everywhere(signed: Signed, image: str) -> None:
    for subject in subjects(signed, image):
        one = attached(signed.store(0, image), subject)
        assert one
        assert one == attached(signed.store(1, image), subject)
        layout = LayoutStore(signed.shop.root / "dist" / "registry" / image)
        assert one == attached(layout, subject)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("image", ["web", "tool"])
def test_cosign_verifies_index_and_children(signed: Signed, which: int, image: str) -> None:
    signed.cosign("verify", *signed.public, signed.reference(which, image))
    store = signed.store(which, image)
    kinds = ["slsaprovenance1", "spdxjson" if image == "tool" else "openvex"]
    for kind in kinds:
        verify = ("verify-attestation", "--type", kind, *signed.public)
        signed.cosign(*verify, signed.reference(which, image))
    for child in top(store).children:
        by_digest = store.reference(child.digest)
        signed.cosign("verify", *signed.public, by_digest)
        for kind in ("slsaprovenance1", "spdxjson"):
            signed.cosign("verify-attestation", "--type", kind, *signed.public, by_digest)


def test_another_key_verifies_nothing(signed: Signed, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(public_pem(new_key()))
    call = ("cosign", "verify", "--key", str(other), "--insecure-ignore-tlog=true")
    assert run_reader(signed.home, *call, signed.reference()).returncode != 0


def policy(folder: Path, host: str, key: str) -> tuple[str, ...]:
    """Write what lets podman, skopeo and CRI-O take only what this key has signed."""
    (folder / "key.pub").write_text(key)
    rule = {
        "type": "sigstoreSigned",
        "keyPath": str(folder / "key.pub"),
        "signedIdentity": {"type": "matchRepository"},
    }
    rules = {"default": [{"type": "reject"}], "transports": {"docker": {host: [rule]}}}
    (folder / "policy.json").write_text(json.dumps(rules))
    (folder / "registries.d").mkdir(exist_ok=True)
    attached = f"docker:\n  {host}:\n    use-sigstore-attachments: true\n"
    (folder / "registries.d" / "here.yaml").write_text(attached)
    return (f"--policy={folder / 'policy.json'}", f"--registries.d={folder / 'registries.d'}")


@pytest.mark.parametrize("which", [0, 1])
def test_policies_of_podman_take_index_and_children(
    signed: Signed, which: int, tmp_path: Path
) -> None:
    skopeo = str(private_toolchain().skopeo)
    host = signed.servers[which].host
    trusted = policy(tmp_path, host, public_pem(KEY))
    copy = ("copy", "--src-tls-verify=false")
    source = f"docker://{signed.reference(which)}"
    for argv in (("--override-arch=arm64", *copy), (*copy, "--all")):
        into = f"dir:{tmp_path / 'copy'}"
        found = run_reader(signed.home, skopeo, *trusted, *argv, source, into)
        assert found.returncode == 0, found.stderr
    strange = policy(tmp_path, host, public_pem(new_key()))
    found = run_reader(signed.home, skopeo, *strange, *copy, source, f"dir:{tmp_path / 'no'}")
    assert found.returncode != 0
    assert "signature" in found.stderr


def test_signatures_for_podman_are_one_manifest_everywhere(signed: Signed) -> None:
    for subject in subjects(signed):
        one, other = (signed.store(which).manifest(classic_tag(subject)) for which in (0, 1))
        assert one is not None
        assert other is not None
        assert one.digest == other.digest
        assert len(one.layers) == 2


def test_oras_finds_types_and_annotations_in_the_fallback_entries(signed: Signed) -> None:
    call = ("oras", "discover", "--plain-http", "--format", "json", signed.reference())
    found = run_reader(signed.home, *call)
    assert found.returncode == 0, found.stderr
    entries = json.loads(found.stdout)["referrers"]
    types = {each["annotations"]["dev.sigstore.bundle.predicateType"] for each in entries}
    assert PROVENANCE in types
    assert all("sigstore.bundle" in each["artifactType"] for each in entries)


def predicate(signed: Signed, subject: Digest, kind: str) -> dict[str, JSONValue]:
    store = signed.store()
    key = KeyAccepted(read_public_key(public_pem(KEY).encode(), "the test's"))
    for digest in attached(store, subject):
        referrer = read_referrer(store, digest, 1 << 20)
        assert referrer is not None
        said = read_bundle(referrer.blobs[0], key, subject)
        if said.predicate_type == kind:
            return predicate_of(said)
    raise AssertionError(kind)


def test_the_sbom_names_what_is_installed(signed: Signed) -> None:
    document = predicate(signed, subjects(signed)[1], SPDX)
    packages = document["packages"]
    assert isinstance(packages, list)
    purls = {
        each["externalRefs"][0]["referenceLocator"]  # type: ignore[index,call-overload]
        for each in packages[1:]
        if isinstance(each, dict)
    }
    assert purls == {
        "pkg:deb/debian/bash@5.2.15-2%2Bb8?arch=amd64&distro=debian-12",
        "pkg:pypi/six@1.16.0",
        "pkg:npm/%40acme/left-pad@1.3.0",
    }


def test_provenance_names_the_commit_and_no_value_of_the_environment(signed: Signed) -> None:
    said = json.dumps(predicate(signed, subjects(signed)[1], PROVENANCE))
    commit = signed.shop.git("rev-parse", "HEAD").strip()
    assert commit in said
    assert "refs/tags/v1.2.3" in said
    assert '"FLAVOR": "{env.FLAVOR}"' in said
    assert str(signed.shop.root) not in said


def test_reports_name_what_is_attached(signed: Signed) -> None:
    line = "web linux/arm64: SBOM, VEX, provenance, signature, signature for podman"
    assert line in (signed.shop.root / "dist" / "summary.md").read_text()
    assert f"attached to {line}" in signed.out
    summary = (signed.shop.root / "dist" / "summary.md").read_text()
    command = f"cosign verify --key cosign.pub --insecure-ignore-tlog=true {signed.reference()}"
    assert command in summary
    metadata = json.loads((signed.shop.root / "dist" / "metadata.json").read_text())
    assert command in metadata["attest"]["verify"]
    assert "signed by the key env:SIGNING_KEY, for podman too" in metadata["attest"]["says"]
    folder = signed.shop.root / "dist" / "statements"
    names = {each.name for each in folder.iterdir()}
    assert {f"web.{each}.sigstore.json" for each in ("signature", "provenance")} <= names
    assert "tool-linux-amd64.sbom.sigstore.json" in names
    plan = signed.shop("plan", "v1.2.3", "--offline")
    assert "attach: SBOM (SPDX), provenance (SLSA v1), VEX (vex/{image}.json)" in plan.out
    assert {each["subject"] for each in metadata["statements"]} == {
        "web",
        "web linux/amd64",
        "web linux/arm64",
        "tool linux/amd64",
    }


def test_verify_says_what_is_attached(signed: Signed) -> None:
    done = signed.shop("verify", "1.2.3")
    assert done.code == 0, done.text
    assert "SBOM" in done.out


def test_a_second_run_attaches_nothing_new(signed: Signed) -> None:
    before = {each: attached(signed.store(), each) for each in subjects(signed)}
    for shop in (signed.shop, clone(signed)):
        done = shop("release", "v1.2.3")
        assert done.code == 0, done.text
    assert before == {each: attached(signed.store(), each) for each in subjects(signed)}


def clone(signed: Signed) -> Shop:
    """Give the same commit in another folder, whose layout is still empty."""
    root = signed.home.parent / "clone"
    signed.shop.git("clone", "-q", str(signed.shop.root), str(root))
    return Shop(root=root, environment=signed.shop.environment)


@pytest.fixture
def copied(signed: Signed, tmp_path: Path) -> Iterator[Signed]:
    """Give the same release on registries that a test may damage."""
    with ExitStack() as stack:
        servers = tuple(stack.enter_context(registry_server()) for _ in range(2))
        root = tmp_path / "shop"
        signed.shop.git("clone", "-q", str(signed.shop.root), str(root))
        shop = Shop(root=root, environment=signed.shop.environment)
        tables = [
            oci_registry(name, server.host, "insecure = true")
            for name, server in zip(("one", "two"), servers, strict=True)
        ]
        shop.write("podbuild.toml", CONFIG + "".join(tables))
        shop.commit("v1.2.3")
        done = shop("release", "v1.2.3")
        assert done.code == 0, done.text
        yield Signed(shop=shop, servers=(servers[0], servers[1]), home=signed.home, out=done.text)


def junk(store: RegistryStore, subject: Manifest) -> Manifest:
    """Attach something of others under the type of a bundle."""
    data = b"no bundle at all"
    blob = Descriptor(media_type=BUNDLE, digest=Digest.of(data), size=len(data))
    empty = Descriptor(media_type=MediaType.OCI_EMPTY, digest=Digest.of(b"{}"), size=2)
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "artifactType": BUNDLE,
        "config": empty.to_json(),
        "layers": [blob.to_json()],
        "subject": subject.descriptor.to_json(),
    }
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    Attachments(store, Cancel().sleep).put(subject.digest, [Referrer(manifest, (data,), ())])
    return manifest


def flip(server: Server, digest: Digest) -> None:
    """Change one byte of a blob where the registry keeps it."""
    blobs = server.storage / "docker/registry/v2/blobs/sha256"
    file = blobs / digest.hex[:2] / digest.hex / "data"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_damage_is_found_and_junk_beside_is_not(copied: Signed) -> None:
    shop, store = copied.shop, copied.store()
    index = top(store)
    junk(store, index)
    done = shop("verify", "1.2.3")
    assert done.code == 0, done.text
    assert "1 of others" in done.out

    (shop.root / "cosign.pub").write_text(public_pem(new_key()))
    foreign = shop("verify", "1.2.3")
    assert foreign.code == 9, foreign.text
    assert "of the accepted key" in foreign.err
    (shop.root / "cosign.pub").write_text(public_pem(KEY))

    child = index.children[0]
    for digest in attached(store, child.digest):
        manifest = store.manifest(digest)
        assert manifest is not None
        flip(copied.servers[0], manifest.layers[0].digest)
    flipped = shop("verify", "1.2.3")
    assert flipped.code == 9, flipped.text
    assert "no SBOM of the accepted key" in flipped.err

    signatures = store.manifest(classic_tag(index.digest))
    assert signatures is not None
    for layer in signatures.layers:
        flip(copied.servers[0], layer.digest)
    flipped = shop("verify", "1.2.3")
    assert "no signature for podman of the accepted key" in flipped.err


def test_an_image_that_nobody_signed_is_found_and_can_be_completed(copied: Signed) -> None:
    shop = copied.shop
    for which in (0, 1):
        store = copied.store(which)
        content = {**top(store).content, "annotations": {"made": "by others"}}
        store.put_manifest(
            Manifest(MediaType.OCI_INDEX, json.dumps(content).encode()), Tag("1.2.3")
        )
    done = shop("verify", "1.2.3")
    assert done.code == 9, done.text
    assert "no signature of the accepted key" in done.err
    completed = shop("attest", "1.2.3")
    assert completed.code == 0, completed.text
    copied.cosign("verify", *copied.public, copied.reference(1))


def test_what_nobody_signed_is_not_used_again(copied: Signed, tmp_path: Path) -> None:
    """A registry, or who may push there, says that its image has the inputs of the release."""
    store = copied.store()
    index = top(store)
    honest = [child.digest for child in index.children]
    real = store.manifest(honest[0])
    assert real is not None
    planted = Manifest(real.media_type, json.dumps({**real.content, "annotations": {}}).encode())
    store.put_manifest(planted)
    children = [child.to_json() for child in index.children]
    children[0] |= {"digest": str(planted.digest), "size": len(planted.data)}
    data = json.dumps({**index.content, "manifests": children}).encode()
    for tag in store.tags():
        if tag.text[0] != "s":  # but those of statements
            store.put_manifest(Manifest(index.media_type, data), tag)
    copied.shop.git("commit", "-q", "--allow-empty", "-m", "next")
    copied.shop.git("tag", "v1.2.4")
    root = tmp_path / "elsewhere"
    copied.shop.git("clone", "-q", str(copied.shop.root), str(root))
    elsewhere = Shop(root=root, environment=copied.shop.environment)
    elsewhere = elsewhere.having(XDG_CACHE_HOME=str(tmp_path / "cache"))
    done = elsewhere("release", "v1.2.4", "--image", "web", "-v")
    assert done.code == 0, done.text
    assert "is not used again: no signature that is accepted" in done.err
    for which in (0, 1):
        now = [child.digest for child in top(copied.store(which), "1.2.4").children]
        assert now == honest
    elsewhere.git("checkout", "-q", "v1.2.3")
    done = elsewhere("release", "v1.2.3", "--image", "web")
    assert done.code == 0, done.text
    assert "nobody has signed it" not in done.err
    for which in (0, 1):  # of two that say that they are this release's, the signed one is
        assert [child.digest for child in top(copied.store(which)).children] == honest
        copied.store(which).put_manifest(planted)
        copied.store(which).put_manifest(Manifest(index.media_type, data), Tag("1.2.3"))
    done = elsewhere("plan", "v1.2.3", "--image", "web")
    assert done.code == 0, done.text
    assert done.text.count("though nobody has signed it yet: no signature that is accepted") == 2
    elsewhere("clean", "--keep", "0")


def test_promoting_carries_what_is_said_to_where_the_image_is_new(copied: Signed) -> None:
    with registry_server() as third:
        shop = copied.shop
        text = (shop.root / "podbuild.toml").read_text()
        shop.write("podbuild.toml", text + oci_registry("three", third.host, "insecure = true"))
        shop = shop.having(SIGNING_KEY=None)
        refused = shop("promote", "1.2.3", "stable", "--yes")  # podman wants the new name signed
        assert refused.code == 7, refused.text
        assert Tag("stable") not in third.store("acme/web").tags()
        done = copied.shop("promote", "1.2.3", "stable", "--yes")
        assert done.code == 0, done.text
        store = third.store("acme/web")
        index = top(store, "stable")
        for subject in (index.digest, *(child.digest for child in index.children)):
            assert attached(store, subject) == attached(copied.store(), subject) != ()
        verified = shop("verify", "stable")
        assert verified.code == 0, verified.text
        # What nobody has signed gets no tag, on its way back or forth.
        unsigned = {**index.content, "annotations": {"made": "by others"}}
        for each in (copied.store(0), copied.store(1), store):
            each.put_manifest(
                Manifest(MediaType.OCI_INDEX, json.dumps(unsigned).encode()), Tag("unsigned")
            )
        refused = copied.shop("promote", "unsigned", "stable", "--yes", "--image", "web")
        assert refused.code == 7, refused.text
        assert "podbuild attest" in refused.err
        assert top(store, "stable").annotations.get("made") is None


def test_what_is_said_of_vulnerabilities_may_change_afterwards(copied: Signed) -> None:
    shop = copied.shop
    before = attached(copied.store(), top(copied.store()).digest)
    again = shop("attest", "1.2.3")
    assert again.code == 0, again.text
    assert attached(copied.store(), top(copied.store()).digest) == before
    shop.write("vex/web.json", json.dumps({**VEX, "version": 2}))
    revised = shop("attest", "1.2.3")
    assert revised.code == 0, revised.text
    for which in (0, 1):
        after = attached(copied.store(which), top(copied.store()).digest)
        assert len({*after} - {*before}) == 1
    shop.write("vex/web.json", "{}")
    for argv in (("attest", "1.2.3"), ("verify", "1.2.3"), ("check",)):
        wrong = shop(*argv)
        assert wrong.code == 2, wrong.text
        assert "vex/web.json: not an OpenVEX document" in wrong.text


LAYOUT = '\n[registries.here]\nkind = "layout"\npath = "out/{image}"\n'
SYFT = """\
#!/bin/sh
case "$1" in version) echo '{"version": "1.99.0"}'; exit;; esac
layout=${2#oci-dir:}
test "$(grep -o '"digest"' "$layout/index.json" | wc -l)" = 1 || exit 1
test -n "$(ls "$layout/blobs/sha256")" || exit 1
test "$SYFT_CHECK_FOR_APP_UPDATE" = false || exit 1
cat <<EOF
{"spdxVersion": "SPDX-2.3", "name": "$7", "documentNamespace": "https://anchore.com/$$",
 "creationInfo": {"created": "$(date -u +%FT%TZ)", "creators": ["Tool: syft-1.99.0"]},
 "files": [{"SPDXID": "SPDXRef-File"}],
 "packages": [{"SPDXID": "SPDXRef-b"}, {"SPDXID": "SPDXRef-a"}],
 "relationships": [{"spdxElementId": "SPDXRef-a", "relatedSpdxElement": "SPDXRef-File"}]}
EOF
"""


def test_syft_and_cyclonedx_where_the_configuration_asks(tmp_path: Path) -> None:
    shop = write_shop(tmp_path, LAYOUT)
    text = (shop.root / "podbuild.toml").read_text()
    shop.write(".gitignore", "/dist/\n/out/\n")
    shop.write("podbuild.toml", text.replace("[attest]", '[attest]\nsbom = "syft"'))
    shop.commit("v1.2.3")
    missing = shop("release", "v1.2.3")
    assert missing.code == 11, missing.text
    assert "needs syft" in missing.err
    program = tmp_path / "bin" / "syft"
    program.parent.mkdir()
    program.write_text(SYFT)
    program.chmod(0o755)
    shop = shop.having(PATH=f"{program.parent}:{shop.environment['PATH']}")
    done = shop("release", "v1.2.3")
    assert done.code == 0, done.text
    first = json.loads(shop("sbom", "tool:1.2.3").out)
    assert [each["SPDXID"] for each in first["packages"]] == ["SPDXRef-a", "SPDXRef-b"]
    assert "files" not in first
    assert first["relationships"] == []
    for kept in (tmp_path / "cache").rglob("sbom/*"):
        kept.unlink()
    assert json.loads(shop("sbom", "tool:1.2.3").out) == first

    shop.write("podbuild.toml", text.replace("[attest]", '[attest]\nsbom-format = "cyclonedx"'))
    lacks = shop("verify", "1.2.3")
    assert lacks.code == 9, lacks.text
    completed = shop("attest", "1.2.3")
    assert completed.code == 0, completed.text
    verified = shop("verify", "1.2.3")
    assert verified.code == 0, verified.text
    document = json.loads(shop("sbom", "tool:1.2.3").out)
    assert document["bomFormat"] == "CycloneDX"
    assert "pkg:pypi/six@1.16.0" in {each["purl"] for each in document["components"]}


def test_children_of_the_index_as_buildkit_has_them_are_the_same_each_time(tmp_path: Path) -> None:
    with registry_server() as server:
        shop = write_shop(tmp_path, oci_registry("one", server.host, "insecure = true"))
        text = (shop.root / "podbuild.toml").read_text()
        shop.write("podbuild.toml", text.replace("[attest]", '[attest]\nplacement = "index"'))
        shop.commit("v1.2.3")
        shop.write("NOTES", "which no image holds")
        shop.commit("v1.2.4")
        for version in ("v1.2.3", "v1.2.4"):  # the second re-uses what the first has made
            shop.git("checkout", "-q", version)
            done = shop("release", version)
            assert done.code == 0, done.text
            verified = shop("verify", version)
            assert verified.code == 0, verified.text
        store = server.store("acme/web")
        one, other = top(store, "1.2.3"), top(store, "1.2.4")
        assert [each.digest for each in one.children] == [each.digest for each in other.children]
        images, attestations = one.children[:2], one.children[2:]
        for image, attestation in zip(images, attestations, strict=True):
            assert not attestation.is_runnable
            assert attestation.annotations == {
                "vnd.docker.reference.digest": str(image.digest),
                "vnd.docker.reference.type": "attestation-manifest",
            }
            held = read_referrer(store, attestation.digest, 1 << 20)
            assert held is not None
            said = {json.loads(blob)["predicateType"]: blob.decode() for blob in held.blobs}
            assert said.keys() == {SPDX, PROVENANCE}
            assert shop.git("rev-parse", "v1.2.3").strip() not in said[PROVENANCE]
        away = tmp_path / "away"
        shop.git("clone", "-q", str(shop.root), str(away))
        again = Shop(root=away, environment=shop.environment)
        again.write("podbuild.toml", (shop.root / "podbuild.toml").read_text() + LAYOUT)
        built = again("release", "v1.2.4", "--no-reuse", "--allow-dirty", "--registry", "here")
        assert built.code == 0, built.text
        layout = LayoutStore(away / "out" / "web")
        found = [each.digest for each in top(layout, "1.2.4").children]
        assert found == [each.digest for each in one.children]


def test_a_key_that_can_not_sign_ends_it_before_anything_is_built(copied: Signed) -> None:
    tags = copied.store().tags()
    shop = copied.shop
    shop.write("web/root/new", "changed")
    shop.commit("v1.2.4")
    for key, said in (
        (None, "$SIGNING_KEY is not set"),
        ("no key", "no private key that can be read"),
        (private_pem(new_key()), "is not the private key of"),
    ):
        done = shop.having(SIGNING_KEY=key)("release", "v1.2.4")
        assert done.code == 4, done.text
        assert said in done.err
        assert "build: done" not in done.err
    assert copied.store().tags() == tags


def test_the_sbom_is_printed_of_what_is_published_and_staged(signed: Signed) -> None:
    published = signed.shop("sbom", "web:v1.2.3", "--platform", "linux/arm64")
    staged = signed.shop("sbom", "web", "--platform", "linux/arm64")
    assert published.code == staged.code == 0, published.text + staged.text
    assert json.loads(published.out) == json.loads(staged.out)
    assert signed.shop("sbom", "web:1.2.3").code == 2
    assert signed.shop("sbom", "web:9.9.9", "--platform", "linux/arm64").code == 3


def test_what_is_attached_stays_and_goes_with_its_image(tmp_path: Path) -> None:
    rules = """
[tags]
release = ["latest"]

[retention]
superseded = true
grace = "0s"

[registries.here]
kind = "layout"
path = "dist/registry/{image}"
"""
    with registry_server() as server:
        shop = write_shop(tmp_path, oci_registry("one", server.host, "insecure = true"), rules)
        store = server.store("acme/web")
        layout = LayoutStore(shop.root / "dist" / "registry" / "web")
        assert shop("release", "v1.2.3").code == 0
        old = top(store, "latest")
        gone = {each: attached(store, each) for each in (old.digest, old.children[0].digest)}
        assert all(gone.values())
        shop.write("web/root/new", "changed")
        shop.commit("v1.2.4")
        done = shop("release", "v1.2.4")
        assert done.code == 0, done.text
        for subject, referrers in gone.items():
            for place in (store, layout):
                assert place.manifest(subject) is None
                assert not [each for each in referrers if place.manifest(each)]
            assert not {fallback_tag(subject), classic_tag(subject)} & {*store.tags()}
        new = top(store, "latest").digest
        assert attached(store, new) == attached(layout, new) != ()
        verified = shop("verify", "latest")
        assert verified.code == 0, verified.text


def test_who_builds_needs_no_key_and_the_join_signs_how_it_was_built(tmp_path: Path) -> None:
    with registry_server() as server:
        shop = write_shop(tmp_path, oci_registry("one", server.host, "insecure = true"))
        away = tmp_path / "away"
        shop.git("clone", "-q", str(shop.root), str(away))
        builder = Shop(root=away, environment=shop.environment).having(SIGNING_KEY=None)
        built = builder("build")
        assert built.code == 0, built.text
        done = shop("release", "v1.2.3", "--from", str(away / "dist"))
        assert done.code == 0, done.text
        store = server.store("acme/web")
        index = top(store)
        key = KeyAccepted(read_public_key(public_pem(KEY).encode(), "the test's"))
        for child in index.children:
            said = set()
            for digest in attached(store, child.digest):
                referrer = read_referrer(store, digest, 1 << 20)
                assert referrer is not None
                said.add(read_bundle(referrer.blobs[0], key, child.digest).predicate_type)
            assert {PROVENANCE, SPDX} < said


def test_a_registry_that_takes_no_statement_gets_no_tag(tmp_path: Path) -> None:
    with registry_server() as good, registry_server() as bad:

        def answer(request: Request) -> Reply:
            if request.method == "PUT" and b"sigstore.bundle" in request.body:
                return Reply(status=400, body=b"{}")
            return forward(bad.host, request)

        with served(answer) as wire:
            shop = write_shop(
                tmp_path,
                oci_registry("one", good.host, "insecure = true"),
                oci_registry("two", wire.host, "insecure = true"),
            )
            done = shop("release", "v1.2.3")
        assert done.code == 7, done.text
        assert "statements can't be attached" in done.err
        for server in (good, bad):
            tags = server.store("acme/web").tags()
            assert not [tag for tag in tags if not str(tag).startswith("sha256-")]


def test_a_release_killed_while_it_signs_has_no_tag_and_goes_on(tmp_path: Path) -> None:
    with registry_server() as behind, ExitStack() as stack:
        running: list[subprocess.Popen[str]] = []
        bundles: list[Request] = []
        kill_at = [0]

        def answer(request: Request) -> Reply:
            if request.method == "PUT" and b"sigstore.bundle" in request.body:
                bundles.append(request)
                if running and len(bundles) >= kill_at[0]:  # two may have come at once
                    running[0].kill()
                    running[0].wait()
            return forward(behind.host, request)

        wire = stack.enter_context(served(answer))
        shop = write_shop(tmp_path, oci_registry("one", wire.host, "insecure = true"))
        for number in (1, 4):
            kill_at[:] = [number]
            bundles.clear()
            running[:] = [stack.enter_context(shop.start("release", "v1.2.3"))]
            running[0].communicate()
            assert running[0].returncode == -signal.SIGKILL
            for image in ("web", "tool"):
                tags = behind.store(f"acme/{image}").tags()
                assert not [tag for tag in tags if not str(tag).startswith("sha256-")]
        running.clear()
        done = shop("release", "v1.2.3")
        assert done.code == 0, done.text
        verified = shop("verify", "1.2.3")
        assert verified.code == 0, verified.text
        wire.seen.clear()
        again = shop("release", "v1.2.3")
        assert again.code == 0, again.text
        sent = [each.path for each in wire.seen if each.method in ("POST", "PATCH", "PUT")]
        assert not [path for path in sent if "/manifests/" in path or "digest=" in path], sent
        subject = top(behind.store("acme/web")).digest
        held = [read_referrer(behind.store("acme/web"), each, 1 << 20) for each in
                attached(behind.store("acme/web"), subject)]  # fmt: skip
        kinds = [each.predicate_types for each in held if each]
        assert len(held) == len(kinds) == 3  # each is said once: signature, provenance, VEX
