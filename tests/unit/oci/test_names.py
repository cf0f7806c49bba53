from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.errors import ConfigError, VerificationError, VersionError
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Platform, Repository, Tag
from podbuild.system.records import JSONValue

SHA = "sha256:" + "a" * 64
BLOB: dict[str, JSONValue] = {"mediaType": MediaType.OCI_CONFIG, "digest": SHA, "size": 3}


def index(*children: JSONValue, **more: JSONValue) -> Manifest:
    content = {"schemaVersion": 2, "manifests": list(children), **more}
    return Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())


def image(**content: JSONValue) -> Manifest:
    return Manifest(MediaType.OCI_MANIFEST, json.dumps({"schemaVersion": 2, **content}).encode())


# Digests


@given(st.binary(max_size=100))
def test_digest_is_that_of_the_bytes(data: bytes) -> None:
    found = Digest.of(data)
    assert str(found) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert found.matches(data)
    assert not found.matches(data + b"x")


def test_sha512_is_known_too() -> None:
    found = Digest(f"sha512:{hashlib.sha512(b'x').hexdigest()}")
    assert (found.algorithm, found.matches(b"x"), found.matches(b"y")) == ("sha512", True, False)
    assert len(found.short) == 12


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256:", "a" * 64, f"sha256:{'a' * 63}", f"sha256:{'a' * 65}", f"sha256:{'A' * 64}",
        f"sha256:{'g' * 64}", f"md5:{'a' * 32}", f"sha512:{'a' * 64}", f"{SHA}\n", f" {SHA}",
        f"sha256:{'a' * 62}/.",
    ],
)  # fmt: skip
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(VerificationError, match="not a digest"):
        Digest(text)


# Tags


@pytest.mark.parametrize("text", ["latest", "1.2.3", "_", "A", "a" * 128, "1-._x", "0"])
def test_tag_of_the_grammar_is_taken(text: str) -> None:
    assert str(Tag(text)) == text


@pytest.mark.parametrize(
    "text", ["", ".a", "-a", "a" * 129, "a b", "a/b", "a:b", "1.0+2", "ä", "a\n", "@"]
)
def test_tag_that_registries_refuse_is_refused(text: str) -> None:
    with pytest.raises(VersionError, match="not a valid tag") as caught:
        Tag(text)
    assert caught.value.exit_code == 3
    assert "128" in caught.value.hint


# Platforms


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/riscv64", "linux/riscv64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64/v8", "linux/arm64"),
    ],
)
def test_platform_is_read_and_written(text: str, written: str) -> None:
    found = Platform.parse(text)
    assert str(found) == written
    assert Platform.parse(str(found)) == found
    assert Platform.from_json(found.to_json()) == found
    assert "/" not in found.slug


@pytest.mark.parametrize(
    "text",
    ["", "linux", "amd64", "linux/", "/amd64", "linux/arm/v7/x", "windows/amd64", "Linux/amd64",
     "linux/amd64 ", "linux//v7", "linux/am d64", "linux/arm/../x"],
)  # fmt: skip
def test_other_platforms_are_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError, match="bad platform") as caught:
        Platform.parse(text)
    assert "linux/arm64" in caught.value.hint


@pytest.mark.parametrize("value", [None, {}, {"os": "linux"}, {"architecture": 1, "os": 2}, []])
def test_platform_object_that_is_none_is_no_platform(value: JSONValue) -> None:
    assert Platform.from_json(value) is None


def test_variant_v8_is_no_variant_in_an_index_either() -> None:
    found = Platform.from_json({"os": "linux", "architecture": "arm64", "variant": "v8"})
    assert found == Platform("linux", "arm64")


# Repositories


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("ghcr.io/acme/web", "ghcr.io/acme/web"),
        ("docker.io/debian", "docker.io/library/debian"),
        ("docker.io/acme/web", "docker.io/acme/web"),
        ("index.docker.io/acme/web", "docker.io/acme/web"),
        ("registry-1.docker.io/debian", "docker.io/library/debian"),
        ("localhost/a", "localhost/a"),
        ("localhost:5000/a/b/c", "localhost:5000/a/b/c"),
        ("127.0.0.1:5000/x__y/z-w.v", "127.0.0.1:5000/x__y/z-w.v"),
        ("[::1]:5000/acme/web", "[::1]:5000/acme/web"),
    ],
)
def test_repository_is_read_with_its_registry(text: str, written: str) -> None:
    assert str(Repository.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    ["", "web", "acme/web", "ghcr.io", "ghcr.io/", "ghcr.io/Acme/web", "ghcr.io/a//b",
     "ghcr.io/a/", "ghcr.io/-a", "ghcr.io/a..b", "ghcr.io/a___b", "ghcr.io/a:1", "ghcr.io/a@b",
     "ghcr.io/a b", f"ghcr.io/{'a' * 250}", "/web", "ghcr.io/a\n"],
)  # fmt: skip
def test_other_repositories_are_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError, match="bad repository"):
        Repository.parse(text)


@pytest.mark.parametrize(
    "host",
    ["https:", "[::1", "[:::]:5000", "[a.b]", "r.example:99999", "r.example:0", "r.example:port",
     "r.example:", "r..example", "-r.example", "user@r.example", "r.example?a", "a b.example",
     "r_1.example", "r.example:٣"],
)  # fmt: skip
def test_registry_that_is_no_host_is_a_usage_error(host: str) -> None:
    with pytest.raises(ConfigError, match="bad registry") as caught:
        Repository.parse(f"{host}/acme/web")
    assert "without https://" in caught.value.hint


def test_reference_chooses_its_sign() -> None:
    here = Repository.parse("ghcr.io/acme/web")
    assert here.at(Tag("1.2.3")) == "ghcr.io/acme/web:1.2.3"
    assert here.at(Digest(SHA)) == f"ghcr.io/acme/web@{SHA}"


# Descriptors and manifests


def test_descriptor_goes_there_and_back() -> None:
    value: JSONValue = {
        **BLOB,
        "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
        "annotations": {"a": "b"},
    }
    found = Descriptor.from_json(value)
    assert found.to_json() == value
    assert hash(found) == hash(Descriptor.from_json(value))


@pytest.mark.parametrize(
    "value",
    [None, [], "x", {}, {**BLOB, "size": "3"}, {**BLOB, "size": -1}, {**BLOB, "size": True},
     {**BLOB, "digest": "x"}, {"digest": SHA, "size": 1}],
)  # fmt: skip
def test_what_is_no_descriptor_is_refused(value: JSONValue) -> None:
    with pytest.raises(VerificationError):
        Descriptor.from_json(value)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{", b"\xff", b"<html></html>", b"[" * 100_000]
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="is not a manifest"):
        _ = Manifest(MediaType.OCI_INDEX, data).content


def test_index_names_its_children_and_no_blobs() -> None:
    found = index({**BLOB, "platform": {"architecture": "amd64", "os": "linux"}})
    assert [str(child.platform) for child in found.children] == ["linux/amd64"]
    assert (found.blobs, found.layers, found.config) == ((), (), None)
    assert found.descriptor.size == len(found.data)


def test_image_names_each_blob_once_and_no_children() -> None:
    layer: JSONValue = {**BLOB, "digest": "sha256:" + "b" * 64}
    found = image(config=BLOB, layers=[layer, layer])
    assert [str(blob.digest)[7] for blob in found.blobs] == ["a", "b"]
    assert (found.children, found.is_index) == ((), False)


@pytest.mark.parametrize("layers", [[1], [None], [{"digest": "x"}]])
def test_image_with_broken_layers_is_refused(layers: JSONValue) -> None:
    with pytest.raises(VerificationError):
        _ = image(layers=layers).blobs


@pytest.mark.parametrize("broken", [{"manifests": {}}, {"manifests": 5}, {"manifests": "x"}])
def test_index_whose_list_is_none_is_refused(broken: dict[str, JSONValue]) -> None:
    with pytest.raises(VerificationError):
        _ = Manifest(MediaType.OCI_INDEX, json.dumps(broken).encode()).children


def test_subject_and_annotations_are_read() -> None:
    found = image(subject=BLOB, annotations={"a": "b", "c": 1})
    assert found.subject is not None
    assert str(found.subject.digest) == SHA
    assert found.annotations == {"a": "b"}
    assert image().subject is None


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    found = Manifest(MediaType.OCI_INDEX, data)
    with suppress(VerificationError):
        assert isinstance(found.children, tuple)
