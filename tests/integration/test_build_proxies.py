"""What RUN and the logs see of proxies that want a login, and what is cut out of a job's log."""

from __future__ import annotations

import base64
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.manifest import Manifest
from tests.builds import LASTING, NATIVE, WAITS, heard, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

PASSWORD = "pr0xy-passw0rd"
KEY = "\n".join(
    (
        "-----BEGIN PRIVATE KEY-----",
        *textwrap.wrap(base64.b64encode(bytes(range(256)) * 2).decode(), 64),
        "-----END PRIVATE KEY-----",
    )
)
CONTAINERFILE = """\
FROM base
RUN env >/env; cat /proc/[0-9]*/environ >/processes 2>/dev/null; true
RUN --mount=type=secret,id=key LASTING base64 -w 30 /run/secrets/key; \\
    od -An -tx1 /run/secrets/key; cat /run/secrets/key; echo; WAITS
""".replace("LASTING", LASTING).replace("WAITS", WAITS.format("echo all is said"))


@pytest.mark.parametrize("kind", list(EngineKind))
def test_no_login_reaches_run_or_a_log(tmp_path: Path, kind: EngineKind) -> None:
    bench = new_bench(tmp_path, kind)
    proxies = {
        "http_proxy": f"http://me:{PASSWORD}@127.0.0.1:9",
        "HTTPS_PROXY": f"http://me:{PASSWORD}@127.0.0.1:9",
    }
    bench = replace(bench, environment={**proxies, "KEY": KEY})
    base = bench.write_base(NATIVE)
    bench.write("web/Containerfile", CONTAINERFILE)
    toml = (
        f'[defaults]\nplatforms = ["{NATIVE}"]\n{base}'
        '[images.web]\ncontext = "web"\ncontexts = { base = "image:base" }\n'
        'secrets = [{ id = "key", env = "KEY" }]\n'
    )
    try:
        log_file = bench.project / f"dist/logs/web-{NATIVE.slug}.log"
        with (
            opened(bench) as place,
            heard("all is said", log_file, bench.folders.cache / "mounts"),
        ):
            built = place.build(toml)
            manifest: Manifest = next(
                each.manifest for job, each in built.images.items() if job.image == "web"
            )
            files = place.files("web", manifest)
    finally:
        remove_bench(bench)
    assert b"proxy" not in files["env"].lower()
    assert PASSWORD.encode() not in files["processes"]
    log = log_file.read_text()
    shown = log + bench.text
    assert "***" in log
    encoded = base64.b64encode(KEY.encode()).decode()
    dump = KEY.encode().hex()
    joined = shown.replace(" ", "").replace("\n", "")
    for form in (KEY.split("\n")[3], encoded, dump):
        assert not any(form[at : at + 20] in joined for at in range(60, len(form) - 80, 7))
