"""What an image holds that it should not, by what its layers are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from podbuild.build.examine.anatomy import Anatomy, anatomy_of
from podbuild.build.examine.audit import audit_findings
from podbuild.build.examine.blame import Steps
from podbuild.build.examine.leaks import secret_in
from podbuild.build.examine.silence import silenced, useless, written_ignores
from podbuild.build.inputs.instructions import read_instructions
from podbuild.config.choices import Rule
from podbuild.oci.examine import Examiner
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Platform
from podbuild.oci.store import BytesBlob
from tests.images import blob_of
from tests.layers import tar

AMD64 = Platform("linux", "amd64")
Files = Mapping[str, str | bytes | None]
SHELL: Files = {"bin/sh": b"#!/bin/sh\n"}
TEXT = """\
FROM base
RUN one
RUN two
USER 10
CMD ["true"]
"""


def look(folder: Path, base: Sequence[Files], own: Sequence[Files], text: str = TEXT) -> Anatomy:
    """Give the anatomy of an image whose own layers the RUNs of a Containerfile have made."""
    store = MemoryStore()
    own = [*own, *({} for _ in range(text.count("\nRUN") - len(own)))]
    layers = [tar(files) for files in (*base, *own)]
    history = [{"created_by": "/bin/sh -c #(nop) ADD file:x in / "} for _ in base]
    history += [{"created_by": "/bin/sh -c something"} for _ in own]
    user = "10" if "USER" in text else ""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": user},
        "history": history,
    }
    data = json.dumps(config).encode()
    parts = [blob_of(data, MediaType.OCI_CONFIG), *map(blob_of, layers)]
    for part, content in zip(parts, (data, *layers), strict=True):
        store.put_blob(part, BytesBlob(content))
    whole = {"config": parts[0].to_json(), "layers": [part.to_json() for part in parts[1:]]}
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(whole).encode())
    _, instructions = read_instructions(text, where="Containerfile")
    return anatomy_of(Examiner(folder), store, manifest, ("web", AMD64), Steps(instructions))


def found(image: Anatomy) -> dict[str, tuple[int | None, int]]:
    return {each.rule: (each.line, each.bytes) for each in audit_findings([image])}


BIG = b"\1" * 1_500_000
CASES: dict[str, tuple[list[Files], list[Files], dict[str, tuple[int | None, int]]]] = {
    "nothing": ([SHELL], [{"app": "x"}], {}),
    "package lists": ([SHELL], [{"var/lib/apt/lists/x": "1234"}], {"package-lists": (2, 4)}),
    "empty files of them": ([SHELL], [{"var/lib/apt/lists/lock": ""}], {}),
    "those that were deleted": (
        [SHELL],
        [{"var/lib/apt/lists/x": "1234"}, {"var/lib/apt/lists/.wh.x": ""}],
        {},
    ),
    "so many that it matters": (
        [SHELL],
        [{"var/lib/apt/lists/x": BIG}, {"var/lib/apt/lists/.wh.x": ""}],
        {"hidden-bytes": (3, 1_500_000)},
    ),
    "the base's": ([{"var/lib/apt/lists/x": "1234"}], [{"app": "x"}], {}),
    "many of the base's": (
        [{"var/lib/apt/lists/x": BIG}],
        [{"app": "x"}],
        {"base-findings": (1, 1_500_000)},
    ),
    "a cache": (
        [SHELL],
        [{"home/app/.cache/pip/http/x": "123", "root/.npm/_cacache/y": "12"}],
        {"language-cache": (2, 5)},
    ),
    "dnf's": ([SHELL], [{}, {"var/cache/dnf/x.solv": "123"}], {"package-cache": (3, 3)}),
    "a repository": (
        [SHELL],
        [{"srv/.git/objects/aa/bb": "123", "srv/.git/HEAD": "ref"}],
        {"git-in-image": (2, 6)},
    ),
    "a submodule's pointer": ([SHELL], [{"srv/sub/.git": "gitdir: ../.git/modules/sub"}], {}),
    "build tools": (
        [{**SHELL, "var/lib/dpkg/info/libc6-dev.list": "/usr/include/a.h\n"}],
        [
            {
                "var/lib/dpkg/info/gcc-14.list": "/usr/bin/gcc-14\n",
                "var/lib/dpkg/info/gcc-14-base.list": "/usr/share/gcc\n",
                "var/lib/dpkg/info/python3.list": "/usr/bin/python3\n",
                "usr/bin/gcc-14": "12345",
                "usr/include/a.h": "not of this step, by its package",
                "usr/share/gcc": "123",
                "usr/bin/python3": "123",
            }
        ],
        {"build-tools": (2, 5)},
    ),
    "apk's": (
        [SHELL],
        [{"lib/apk/db/installed": "P:musl-dev\nF:usr/include\nR:x.h\n", "usr/include/x.h": "12"}],
        {"build-tools": (2, 2)},
    ),
    "npm's development packages": (
        [SHELL],
        [
            {
                "srv/node_modules/.package-lock.json": json.dumps(
                    {
                        "packages": {
                            "node_modules/jest": {"dev": True},
                            "node_modules/ms": {},
                            "node_modules/ms/node_modules/deep": {"dev": True},
                        }
                    }
                ),
                "srv/package.json": '{"devDependencies": {"ms": "1"}}',
                "srv/node_modules/jest/index.js": "1234",
                "srv/node_modules/ms/index.js": "12",
                "srv/node_modules/ms/node_modules/deep/x.js": "1",
            }
        ],
        {"dev-dependencies": (2, 5)},
    ),
    "by package.json alone": (
        [SHELL],
        [
            {
                "srv/package.json": '{"devDependencies": {"@types/node": "1"}}',
                "srv/node_modules/@types/node/index.d.ts": "1234",
                "srv/node_modules/@types/other/index.d.ts": "1234",
            }
        ],
        {"dev-dependencies": (2, 4)},
    ),
    "a rewritten database": (
        [{"var/lib/dpkg/status": BIG}],
        [{"var/lib/dpkg/status": BIG + b"\1"}],
        {},
    ),
    "the same twice": (
        [SHELL],
        [{"a": BIG}, {"b": BIG}],
        {"duplicate-files": (3, 1_500_000)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_found_and_on_which_line(tmp_path: Path, name: str) -> None:
    base, own, expected = CASES[name]
    image = look(tmp_path, base, own)
    assert found(image) == expected
    assert sum(image.by_owner.values()) + image.folded.hidden_bytes == image.folded.total


TOKEN = "//registry.example.com/:_authToken=npm_0123456789\n"
SECRETS = {
    "root/.npmrc": TOKEN,
    "app/.env": "# comment\nDB_PASSWORD=hunter2\n",
    "app/.env.production": "export KEY=abc",
    "root/.pypirc": "[pypi]\nusername = __token__\npassword = pypi-abc\n",
    "root/.netrc": "machine x login y password z",
    "home/a/.git-credentials": "https://me:tok@example.com",
    "srv/.git/config": "url = https://x-access-token:ghs_x@github.com/a/b",
    "root/.docker/config.json": '{"auths": {"ghcr.io": {"auth": "bWU6dG9r"}}}',
    "root/.aws/credentials": "[default]\naws_secret_access_key = abc\n",
    "root/.ssh/id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
    "etc/ssl/server.key": "-----BEGIN RSA PRIVATE KEY-----\nx",
    "app/service.json": '{"private_key": "-----BEGIN PRIVATE KEY-----x"}',
    "root/.kube/config": "users:\n- user:\n    token: abc\n",
    "root/.m2/settings.xml": "<server><password>abc</password></server>",
    "root/.cargo/credentials.toml": '[registry]\ntoken = "abc"\n',
    "etc/ssh/ssh_host_rsa_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
}
HARMLESS = {
    "root/.npmrc": "//registry.example.com/:_authToken=${NPM_TOKEN}\nfund=false\n",
    "app/.env.example": "DB_PASSWORD=hunter2\n",
    "app/.env": "# nothing\nEMPTY=\n",
    "root/.docker/config.json": '{"credsStore": "desktop", "auths": {"ghcr.io": {}}}',
    "root/.ssh/id_ed25519.pub": "ssh-ed25519 AAAA",
    "srv/node_modules/x/.env": "A=b",
    "usr/lib/python3/dist-packages/x/test.pem": "-----BEGIN PRIVATE KEY-----",
    "etc/ssl/private/ssl-cert-snakeoil.key": "-----BEGIN PRIVATE KEY-----",  # Debian's ssl-cert
    "etc/pki/tls/private/localhost.key": "-----BEGIN PRIVATE KEY-----",
    "etc/ssl/certs/ca.pem": "-----BEGIN CERTIFICATE-----",
    "root/.pypirc": "[distutils]\nindex-servers = pypi\n",
    "app/package.json": '{"private": true}',
    "home/a/.m2/settings.xml": "<password>${env.TOKEN}</password>",
}


@pytest.mark.parametrize("path", SECRETS)
def test_a_file_with_a_secret_is_known(path: str) -> None:
    assert secret_in(path, SECRETS[path].encode)


@pytest.mark.parametrize("path", HARMLESS)
def test_a_file_without_one_is_left_alone(path: str) -> None:
    assert not secret_in(path, HARMLESS[path].encode)


def test_a_deleted_secret_is_named_with_the_line_that_hides_it(tmp_path: Path) -> None:
    image = look(tmp_path, [SHELL], [{"root/.npmrc": TOKEN}, {"root/.wh..npmrc": ""}])
    (finding,) = audit_findings([image])
    assert (finding.rule, finding.line) == (Rule.SECRET, 2)
    assert finding.message == (
        "/root/.npmrc holds a password or token; Containerfile:3 hides it, and layer 2 still has it"
    )
    assert "npm_0123" not in str(finding)


def test_comments_silence_the_instruction_below_wherever_it_moves_to(tmp_path: Path) -> None:
    own: list[Files] = [{"root/.npmrc": TOKEN}, {"root/.cache/pip/x": "1"}]
    commented = TEXT.replace("RUN one", "# so be it\n#podbuild: ignore = secret-in-layer\nRUN one")
    commented = commented.replace("RUN two", "# podbuild: ignore=setuid, pycc\nRUN two")
    for text in (commented, f"# a line\n\n{commented}"):
        image = look(tmp_path, [SHELL], own, text)
        _, instructions = read_instructions(text, where="Containerfile")
        ignores = list(written_ignores(text, instructions, "Containerfile"))
        left, unused = silenced(audit_findings([image]), ignores)
        assert [each.rule for each in left] == [Rule.LANGUAGE_CACHE]
        assert [each.message for each in useless(unused, {Rule.SETUID})] == [
            "nothing is found that ignoring setuid would silence",
            "no rule is named 'pycc'",
        ]


def test_without_layers_all_steps_are_meant(tmp_path: Path) -> None:
    image = look(tmp_path, [SHELL], [{"var/lib/apt/lists/x": "1234"}])
    config = dict(image.config)
    config["history"] = [
        {"created_by": "base"},
        {"created_by": "/bin/sh -c one", "empty_layer": True},
        {"created_by": "/bin/sh -c two"},
    ]
    made = image.steps.layers(config)
    assert [(each.line, each.text) for each in made.causes][1] == (1, "all steps")
    assert made.base == 1
