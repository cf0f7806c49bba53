"""Which ids a user namespace maps, and the errors for machines that map too few."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podbuild.build.engine.idmap import (
    identity_ranges,
    ids_command,
    parse_subordinate,
    subordinate_ranges,
    too_few_ids,
)
from podbuild.build.engine.namespace import refusing_switch


def test_root_in_a_container_maps_exactly_the_ids_it_has() -> None:
    text = "         0       1000          1\n         1     100000      65536\n"
    assert [str(found) for found in identity_ranges(text)] == ["0 0 1", "1 1 65536"]


def test_ranges_follow_one_another_inside() -> None:
    found = parse_subordinate("ci:100000:65536\nother:5:5\n1001:900000:10\n", ("ci", "1001"))
    assert [str(entry) for entry in found] == ["1 100000 65536", "65537 900000 10"]


@pytest.mark.parametrize("line", ["ci:100000", "ci:a:65536", "# ci:1:2", "", "ci:1:2:3", ":1:2"])
def test_a_line_that_is_no_range_is_left_out(line: str) -> None:
    assert parse_subordinate(f"{line}\n", ("ci",)) == ()


def test_a_machine_without_the_file_has_no_ranges(tmp_path: Path) -> None:
    assert subordinate_ranges("ci", "uid", tmp_path) == ()


def test_ranges_may_be_given_to_the_number_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "subgid").write_text(f"{os.getuid()}:7:70000\n")
    assert [entry.count for entry in subordinate_ranges("nobody-here", "gid", tmp_path)] == [70000]


def test_the_error_says_which_package_and_which_ranges() -> None:
    error = too_few_ids(1)
    assert error.exit_code == 11
    assert "can map 1 user id" in error.message
    assert "apt-get install uidmap" in error.hint
    assert "--add-subuids 100000-165535 --add-subgids 100000-165535" in error.hint


def test_the_command_names_the_user() -> None:
    assert ids_command("ci").endswith(" ci")


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=65536"),
        ("user/max_user_namespaces", "96365", ""),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", ""),
    ],
)
def test_the_setting_that_refuses_namespaces_is_named(
    tmp_path: Path, name: str, value: str, command: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(f"{value}\n")
    assert refusing_switch(tmp_path) == command
