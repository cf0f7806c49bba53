"""What a run leaves when it has ended, also when it fails: messages, page, trace, its entry."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.answering import Answer, Answering, Asked, answering
from tests.registries import make_authority

pytestmark = pytest.mark.integration

TOML = """
[project]
name = "shop"
[images.web]
[notify]
webhook-env = "HOOK"
command = ["tee", "dist/told.json"]
on = ["failed"]
[history]
folder = "dist/kept"
"""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A project whose release fails before anything is built, and who listens."""

    root: Path
    environment: dict[str, str]
    hook: Answering

    def fails(self, **more: str) -> str:
        """Release; give what was said. The exit code is that of the failure, whatever is told."""
        done = subprocess.run(
            [sys.executable, "-m", "podbuild", "release", "1.0.0"],
            cwd=self.root,
            env={**self.environment, **more},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert "the work tree has changes" in done.stderr
        return done.stderr


def taken(_asked: Asked) -> Answer:
    return Answer(200)


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Left]:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "podbuild.toml").write_text(TOML)
    (root / "Containerfile").write_text("FROM scratch\n")
    (root / ".gitignore").write_text("dist/\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(root))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    (root / "Containerfile").write_text("FROM scratch\nENV changed=yes\n")
    authority = make_authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "SSL_CERT_FILE": str(authority.ca),
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_RUN_ID": "7",
    }
    with answering(taken, tls=context) as hook:
        yield Left(root=root, environment=environment, hook=hook)


def test_a_failed_release_is_told_once_and_remembered(left: Left) -> None:
    left.fails(HOOK=f"https://{left.hook.host}/services/T0/s3cr3t")
    (asked,) = left.hook.asked
    text = json.loads(asked.body)["text"]
    assert "shop 1.0.0: failed" in text
    assert "the work tree has changes" in text
    assert "https://github.com/acme/shop/actions/runs/7" in text
    told = json.loads((left.root / "dist/told.json").read_text())
    assert (told["project"], told["result"]) == ("shop", "failed")
    (entry,) = (left.root / "dist/kept").iterdir()
    kept = json.loads(entry.read_text())
    assert (kept["version"], kept["result"]) == ("1.0.0", "failed")
    assert "Containerfile" in (left.root / "dist/report.html").read_text()
    assert (left.root / "dist/metrics.txt").read_text().endswith("# EOF\n")
    assert json.loads((left.root / "dist/trace.json").read_text())["schema"] == 1


def test_a_hook_that_can_not_be_told_shows_no_secret(left: Left) -> None:
    for url in (
        f"http://{left.hook.host}/services/T0/s3cr3t",
        "https://127.0.0.1:1/services/T0/s3cr3t",
        "nonsense/s3cr3t",
        "https://[::1/s3cr3t",
    ):
        said = left.fails(HOOK=url)
        assert "the webhook in HOOK was not reached" in said
        assert "s3cr3t" not in said
        (warning,) = (line for line in said.splitlines() if "was not reached" in line)
        assert "work tree" not in warning  # which failed before
    assert "HOOK is not set" in left.fails()
    assert left.hook.asked == []


def test_a_collector_of_traces_gets_one_and_may_be_down(left: Left) -> None:
    with answering(taken) as collector:
        left.fails(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.host}")
        (asked,) = collector.asked
    assert asked.path == "/v1/traces"
    assert "resourceSpans" in json.loads(asked.body)
    for endpoint in ("http://127.0.0.1:1", "http://[::1"):
        assert "the trace was not taken" in left.fails(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)


def test_the_command_gets_no_secret_that_it_does_not_name(left: Left) -> None:
    text = TOML.replace(
        '["tee", "dist/told.json"]', '["sh", "-c", "env >dist/env"]\nenv = ["MINE"]'
    )
    (left.root / "podbuild.toml").write_text(text)
    known = {"MINE": "m1ne-t0ken", "LANG": "C"}
    secret = ("GITHUB_TOKEN", "PODBUILD_A_TOKEN", "PODBUILD_SIGN_PASSWORD", "HOOK")
    left.fails(**known, **dict.fromkeys(secret, "https://s3cr3t.invalid:1"))
    got = (left.root / "dist/env").read_text().splitlines()
    assert {f"{name}={value}" for name, value in known.items()} <= {*got}
    assert "s3cr3t" not in "".join(got)
