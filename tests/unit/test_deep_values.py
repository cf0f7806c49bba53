"""JSON whose brackets never end, in what others hand over: one clear answer, no RecursionError."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podbuild.build.attest.catalog import catalog
from podbuild.build.attest.cosign import Cosign
from podbuild.build.image import parse_config
from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.remote.podman import Podman
from podbuild.commands.carry_files import carry_over
from podbuild.commands.order import step_seconds
from podbuild.errors import ConfigError, PublishError, VerificationError
from podbuild.oci.examine import Examiner
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest
from podbuild.oci.statements import IN_TOTO
from podbuild.oci.store import BytesBlob
from podbuild.oci.transport.local import LostServiceError, SocketAnswer, SocketCall, SocketService
from podbuild.system.process import Runner
from tests.layers import tar

DEEP = "[" * 200_000


def bundle(payload: bytes) -> bytes:
    content = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"sig": ""}],
    }
    return json.dumps({"dsseEnvelope": content}).encode()


def test_a_layout(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(DEEP)
    with pytest.raises(PublishError, match="is no OCI index"):
        LayoutStore(tmp_path).entries()


def test_a_config_of_an_image() -> None:
    with pytest.raises(VerificationError, match="is not a config"):
        parse_config(DEEP.encode(), Digest.of(b""))


def test_a_file_in_an_image(tmp_path: Path) -> None:
    name = "app/node_modules/a/package.json"
    data = gzip.compress(tar({name: DEEP}), mtime=0)
    layer = Descriptor(media_type="layer", digest=Digest.of(data), size=len(data))
    store = MemoryStore()
    store.put_blob(layer, BytesBlob(data))
    image = Manifest(MediaType.OCI_MANIFEST, json.dumps({"layers": [layer.to_json()]}).encode())
    found = catalog(Examiner(tmp_path), store, image)
    assert [name in remark for remark in found.remarks] == [True]


def test_a_containerfile() -> None:
    lists = DEEP[:60_000]  # builders read no longer line
    (found,) = read_containerfile(f"FROM a\nENTRYPOINT {lists}\n").instructions
    assert found.word == "ENTRYPOINT"
    assert found.array is None


def test_a_bake_file_and_metrics(tmp_path: Path) -> None:
    (tmp_path / "bake.json").write_text(DEEP)
    with pytest.raises(ConfigError, match="too deep"):
        carry_over(tmp_path, "bake.json")
    assert step_seconds(tmp_path / "bake.json") == {}


@pytest.mark.parametrize(
    "payload",
    [
        DEEP,
        "x",
        "{}",
        '{"subject": [{"digest": {"sha256": "\\u0000"}}], "predicateType": "a"}',
        '{"subject": [{"digest": {"sha256": "' + "a" * 64 + '"}}], "predicateType": "\\ud800"}',
    ],
)
def test_a_statement_that_cosign_is_asked_about(payload: str) -> None:
    cosign = Cosign(program=Path("/nowhere"), runner=Runner(env={}))
    with pytest.raises(VerificationError, match="not a statement"):
        cosign.verified(bundle(payload.encode()), "a", "b", "")


@pytest.mark.parametrize("said", [DEEP.encode(), b"no JSON", b"\xff"])
def test_an_answer_of_a_builder(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def ask(_service: SocketService, _call: SocketCall) -> Iterator[SocketAnswer]:
        yield SocketAnswer(status=200, headers={}, lines=iter([said]))

    monkeypatch.setattr(SocketService, "ask", ask)
    with pytest.raises(LostServiceError, match="it answered"):
        Podman(SocketService(Path("/nowhere")), {}).environment("a")
