"""Where the releases of a project are, by what a repository and an environment say."""

from __future__ import annotations

import pytest

from podbuild.config.following import ForgeKind, NotesSettings
from podbuild.errors import ConfigError
from podbuild.plan.git.history import ci_facts
from podbuild.publish.forges import find_project

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/shop"}


def test_a_source_and_a_ci_system_name_the_same_project() -> None:
    settings, ci = NotesSettings(), ci_facts(GITHUB)
    by_source = find_project(settings, "https://github.com/acme/shop.git", ci, "")
    by_system = find_project(settings, "", ci, "https://github.com")
    assert by_source == by_system
    assert (by_source.kind, by_source.api) == (ForgeKind.GITHUB, "https://api.github.com")
    assert by_source.path == "acme/shop"


@pytest.mark.parametrize(
    ("source", "repository", "server"),
    [
        ("https://github.com/../../user", "", ""),
        ("https://gitlab.com/acme/./shop", "", ""),
        ("https://github.com/acme/shop", "../user", ""),
        ("https://github.com/acme", "", ""),
        ("", "", "https://[::1"),
        ("https://github.com/acme/shop", "", "https://[::1"),
    ],
)
def test_what_leads_elsewhere_in_an_api_is_refused(
    source: str, repository: str, server: str
) -> None:
    settings = NotesSettings(repository=repository)
    with pytest.raises(ConfigError):
        find_project(settings, source, ci_facts(GITHUB), server)
