"""Registrations and proving programs of foreign architectures, byte by byte."""

from __future__ import annotations

import os
import re

import pytest

from podbuild.build.toolchain.emulation import (
    EXIT_PROOF,
    GUESTS,
    Guest,
    foreign_guests,
    guest_for,
    missing_emulation,
    native_architecture,
)
from podbuild.errors import ToolError
from podbuild.oci.names import Platform

EVERY = pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.architecture)

# As qemu's scripts/qemu-binfmt-conf.sh registers them.
QEMU_MAGIC = {
    "amd64": "7f454c4602010100000000000000000002003e00",
    "386": "7f454c4601010100000000000000000002000300",
    "arm": "7f454c4601010100000000000000000002002800",
    "arm64": "7f454c460201010000000000000000000200b700",
    "ppc64le": "7f454c4602010100000000000000000002001500",
    "s390x": "7f454c4602020100000000000000000000020016",
    "riscv64": "7f454c460201010000000000000000000200f300",
}


def masked(guest: Guest, head: bytes) -> bytes:
    return bytes(byte & mask for byte, mask in zip(head, guest.mask, strict=False))


@EVERY
def test_the_magic_is_qemus(guest: Guest) -> None:
    assert guest.magic.hex() == QEMU_MAGIC[guest.architecture]


@EVERY
def test_a_proving_program_is_caught_by_its_own_registration_alone(guest: Guest) -> None:
    program = guest.program()
    caught = [other for other in GUESTS if masked(other, program) == masked(other, other.magic)]
    assert caught == [guest]


@EVERY
def test_shared_objects_and_other_os_abis_are_caught_too(guest: Guest) -> None:
    head = bytearray(guest.program()[:20])
    head[7] = 3  # ELFOSABI_LINUX
    head[16 if guest.order == "little" else 17] = 3  # ET_DYN
    assert masked(guest, bytes(head)) == masked(guest, guest.magic)


@EVERY
def test_a_registration_escapes_every_byte_and_opens_qemu_at_once(guest: Guest) -> None:
    line = guest.registration("/opt/qemu/qemu")
    assert line.endswith(":/opt/qemu/qemu:POCF")
    assert "\0" not in line
    assert len(re.findall(r"\\x[0-9a-f]{2}", line)) == 40
    assert len(line) < 1920  # the kernel's limit


def test_a_colon_in_the_path_does_not_end_the_field() -> None:
    line = guest_for(Platform("linux", "arm64")).registration("/a:b/qemu")
    assert line.startswith(",podbuild-arm64,M,0,")
    assert line.endswith(",/a:b/qemu,POCF")


def test_a_script_is_caught_by_no_registration() -> None:
    script = b"#!/bin/sh\nexit 0\n\n\n\n\n"
    assert not [guest for guest in GUESTS if masked(guest, script) == masked(guest, guest.magic)]


def test_the_native_platform_is_not_foreign() -> None:
    native = Platform("linux", native_architecture())
    assert foreign_guests([native]) == ()


def test_each_foreign_architecture_is_asked_for_once() -> None:
    platforms = [Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6")]
    assert [guest.architecture for guest in foreign_guests(platforms)] == ["arm"]


def test_an_architecture_without_qemu_is_named() -> None:
    with pytest.raises(ToolError, match="linux/vax: no emulation") as caught:
        guest_for(Platform("linux", "vax"))
    assert "arm64" in caught.value.hint


def test_missing_emulation_names_the_three_ways() -> None:
    error = missing_emulation(("arm64",), "it has no handler")
    assert error.exit_code == 11
    assert "--from" in error.hint
    assert "qemu-user-binfmt" in error.hint
    assert "toolchain install" in error.hint


def test_no_shell_ends_with_the_proof() -> None:
    assert EXIT_PROOF not in (0, 1, 2, 126, 127)
    assert EXIT_PROOF < 128


@pytest.mark.parametrize(
    ("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("s390x", "s390x")]
)
def test_machines_have_the_names_that_platforms_use(
    machine: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = os.uname()
    there = os.uname_result((known.sysname, known.nodename, known.release, known.version, machine))
    monkeypatch.setattr(os, "uname", lambda: there)
    assert native_architecture() == architecture
