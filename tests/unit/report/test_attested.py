"""By which commands others verify what was released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.config.load import load_config
from podbuild.oci.names import RegistryKind, Tag
from podbuild.report.model import TagOutcome, TagReport, TargetReport
from podbuild.report.text import attest_line, verify_commands

WORKFLOW = "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/v{version}"
HEAD = '[project]\nname = "shop"\n\n[images.web]\n\n[attest.sign]\n'
GITHUB = 'issuer = "https://token.actions.githubusercontent.com"\n'
PLACE = "ghcr.io/acme/web"
LIVE = TagReport(tag=Tag("1.2.3"), reference=f"{PLACE}:1.2.3", outcome=TagOutcome.MOVED)
TARGET = TargetReport(
    registry="ghcr", kind=RegistryKind.GHCR, repository=PLACE, image="web", tags=(LIVE,)
)


def commands(folder: Path, text: str, version: str = "1.2.3") -> list[str]:
    (folder / "Containerfile").write_text("FROM scratch\n")
    (folder / "podbuild.toml").write_text(HEAD + text)
    config = load_config(folder / "podbuild.toml", {})
    assert config.attest is not None
    assert attest_line(config.attest)
    layout = replace(TARGET, kind=RegistryKind.LAYOUT, registry="here")
    return [*verify_commands(config, version, (layout, TARGET, replace(TARGET, registry="b")))]


def test_a_key_is_named_from_the_projects_folder(tmp_path: Path) -> None:
    found = commands(tmp_path, 'key = "env:K"\npublic-key = "keys/release.pub"\n')
    who = "--key keys/release.pub --insecure-ignore-tlog=true"
    assert found == [
        "podbuild verify 1.2.3",
        f"cosign verify {who} {PLACE}:1.2.3",
        f"cosign verify-attestation --type slsaprovenance1 {who} {PLACE}:1.2.3",
    ]


def test_a_workflow_is_pinned_and_github_users_have_their_own_command(tmp_path: Path) -> None:
    found = commands(tmp_path, f'keyless = true\nidentity = "{WORKFLOW}"\n{GITHUB}')
    pinned = WORKFLOW.replace("{version}", "1.2.3")
    assert f"--certificate-identity {pinned} " in found[1]
    assert found[3] == (
        f"gh attestation verify oci://{PLACE}:1.2.3 --repo acme/shop --bundle-from-oci"
    )


@pytest.mark.parametrize("version", ["", "1.2.3"])
def test_what_is_not_pinned_is_a_pattern(tmp_path: Path, version: str) -> None:
    both = f'["{WORKFLOW}", "https://gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main"]'
    found = commands(tmp_path, f"keyless = true\nidentity = {both}\n{GITHUB}", version)
    verify = next(line for line in found if line.startswith("cosign verify "))
    assert "--certificate-identity-regexp '^(?:https" in verify
    assert ("podbuild verify 1.2.3" in found) is bool(version)
