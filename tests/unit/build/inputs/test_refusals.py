"""What is refused before an engine starts, by file and line, and what must not be."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from podbuild.build.inputs.arguments import build_variables
from podbuild.build.inputs.containerfile import platform_arguments, read_containerfile
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.refusals import Unbuildable, refusals
from podbuild.build.inputs.sources import Shown
from podbuild.oci.names import Platform

LINUX = Platform("linux", "amd64")
NONE: Mapping[str, str] = {}


def found(
    folder: Path, text: str, ignored: tuple[str, ...] = (), arguments: Mapping[str, str] = NONE
) -> list[Unbuildable]:
    parsed = read_containerfile(text)
    return list(
        refusals(
            parsed,
            target=None,
            variables=build_variables(parsed, platform_arguments(LINUX, LINUX), arguments, None),
            given={"base": None},
            told=arguments.keys(),
            shown=Shown(folder=folder, matcher=Matcher(ignored)),
        )
    )


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/x").write_text("x")
    (tmp_path / "gone").symlink_to("nowhere")
    for name, target in {"way": "/d/e", "d/up": "../way", "turn": "turn/x"}.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RNU x", "no instruction is called RNU"),
        ("ONBUILD RNU x", "no instruction is called RNU"),
        ("CMD --verbose x", "CMD has no --verbose here"),
        ("ENV --x a=b", "ENV has no --x here"),
        ("COPY --form=base a.txt /", "COPY has no --form here"),
        ("ADD --from=base a.txt /", "ADD has no --from here"),
        ("ADD --unpack https://x.y/z /", "--unpack: the engine unpacks no archive from a URL"),
        ("ADD --unpack=false a.txt https://x.y/z /", "--unpack=false for files and URLs"),
        ("ADD --keep-git-dir=maybe a.txt /", "--keep-git-dir=maybe is neither true nor false"),
        ("RUN []", "RUN of nothing"),
        ("FROM other AS base", "the context base would take the place of the stage"),
        ("STOPSIGNAL 0", "there is no signal '0'"),
        ("STOPSIGNAL -9", "there is no signal '-9'"),
        ("CMD a \\\\", "CMD: the engine goes on with the next line"),
        ("ONBUILD ENV X=a\\\\", "ONBUILD: the engine goes on with the next line"),
        ("COPY --link=1 a.txt /", "--link=1 is neither true nor false"),
        ("RUN --mount=target=/x,U x", "a bind mount has no option 'U'"),
        ("RUN --mount=target=/x,chown=1 x", "a bind mount has no option 'chown'"),
        ("RUN --mount=type=cache,target=/x,U=true x", "U=true: U takes no value"),
        ("ONBUILD ADD --checksum=foo https://x.y/z /", "--checksum=foo is no digest"),
        ("ENV X=1\nARG ${X}=1", "ARG ${X}=1: a name takes no variable"),
        ("COPY gone /x", "COPY gone: there is no such file in the context"),
        ("COPY --from=base-$X a /x", "COPY --from base-$X: 'base-' names no image"),
        ("RUN --mount=source=gone,target=/x x", "RUN gone: there is no such file in the context"),
        ("RUN --security=insecure x", "RUN has no --security here"),
        ("RUN --device=gpu x", "RUN has no --device here"),
        ("HEALTHCHECK --interval=100us CMD x", "--interval=100us is no time of 1ms or more"),
        ("HEALTHCHECK --timeout=5 CMD x", "--timeout=5 is no time"),
        ("HEALTHCHECK --timeout=-5s CMD x", "--timeout=-5s is no time"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries=-1 is no number"),
        ("HEALTHCHECK --timeout=2s CMD-SHELL y", "HEALTHCHECK takes CMD or NONE, not CMD-SHELL"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no command"),
        ("HEALTHCHECK CMD", "HEALTHCHECK CMD needs a command"),
        ("RUN --network=bridge x", "--network=bridge is not known"),
        ("RUN --network=none x\nRUN y", "chroot isolation shows RUN the machine's network"),
        ("ADD https://example.test/a /\nRUN --network=none x", "nothing can be fetched"),
        ("RUN --mount=type=ramfs,target=/x x", "no mount is of type 'ramfs'"),
        ("RUN --mount=type=cache,tagret=/x x", "a cache mount has no option 'tagret'"),
        ("RUN --mount=type=cache,target=/x,sharing=mine x", "sharing=mine is not known"),
        ("HEALTHCHECK --every=1s CMD x", "HEALTHCHECK has no --every here"),
        ("COPY --chown a.txt /", "--chown has no value"),
        ("COPY --chmod=888 a.txt /", "--chmod=888 is no mode"),
        ("ARG M=a+y\nCOPY --chmod=$M a.txt /", "--chmod=a+y is no mode"),
        ("ADD --chmod=+x https://example.test/a /", "--chmod=+x of https://example.test/a: octal"),
        ("ONBUILD COPY --chmod=+x a /", "--chmod=+x ends the builds that run the trigger"),
        ("ADD git@x.y:z.git /", "ADD git@x.y:z.git: the engine clones by https alone"),
        ("ADD git://x.y/z.git#main /", "ADD git://x.y/z.git#main: the engine clones by https"),
        ("ADD https://x.y/z.git?submodules=0 /", "ADD https://x.y/z.git?submodules=0: the engine"),
        ("ADD https://x.y/z.git?commit=abc /", "ADD https://x.y/z.git?commit=abc: the engine"),
        ("ADD https://x.y/ /x/", "ADD https://x.y/: a URL without a path names no file"),
        ("ADD https://x.y?a=b .", "ADD https://x.y?a=b: a URL without a path names no file"),
        ("COPY a.txt", "COPY needs a source and a destination"),
        ("COPY a.txt /\u00e9", "the engine can't give a file the name \u00e9"),
        ("COPY <<E /x/\u00e9\ny\nE", "the engine can't give a file the name \u00e9"),
        ("FROM Image", "FROM Image: "),
        ("FROM image@sha256:abc", "FROM image@sha256:abc: "),
        ("COPY --from=http://image / /", "COPY --from http://image: "),
        ("COPY --chown=1 --chown=2 a.txt /", "--chown stands there twice"),
        ("RUN --network=none --network=none x", "--network stands there twice"),
        ("RUN --network= x", "--network has no value"),
        ("RUN --mount= x", "--mount has no value"),
        ("COPY a.txt <<E\nE", "COPY takes no heredoc as its destination"),
        ("ADD --checksum=foo https://x.y/z /", "--checksum=foo is no digest"),
        ("ADD --checksum=sha256:00 https://x.y/z /", "--checksum=sha256:00 is no digest"),
        ("ENV X=\nVOLUME $X", "VOLUME of nothing"),
        ("ADD --checksum=x a.txt /", "--checksum is for what is fetched"),
        (f"ADD --checksum={'0a' * 32} https://x.y/z /", f"--checksum={'0a' * 20} is no digest"),
        ("ADD --checksum=0a0a0a0 https://x.y/z.git /", "--checksum=0a0a0a0 is no commit"),
        (f"ADD --checksum=sha256:{'0a' * 32} https://x.y/z.git /", "--checksum=sha256:0a0a"),
        (f"ADD --checksum={'0a' * 20} https://x.y/z.git a.txt /", "--checksum is for one source"),
        ("ADD --keep-git-dir https://x.y/z.git /", "--keep-git-dir: the engine's .git"),
        ("ADD --keep-git-dir=TRUE https://x.y/z.git#v1 /", "--keep-git-dir: the engine's .git"),
        ("ONBUILD ADD https://x.y/z.git /", "the engine would keep .git when the trigger is run"),
        ("HEALTHCHECK CMD []", "HEALTHCHECK CMD needs a command"),
        ('HEALTHCHECK CMD ["a", 1]', "HEALTHCHECK: a list holds strings only"),
        ("HEALTHCHECK --retries=99999999999 CMD x", "--retries=99999999999 is no number"),
        ("ONBUILD ENV A", "ENV A has no value"),
        ("STOPSIGNAL SIGRTMIN+40", "there is no signal 'SIGRTMIN+40'"),
        ("RUN --mount=type=cache,target=/ x", "a cache mount can't take the place of /"),
        ("RUN --mount=target=/x/.. x", "a bind mount can't take the place of /"),
        ("RUN --mount=type=secret,id= x", "a mount of no secret"),
        ("RUN --mount=type=secret,id=a,source=b x", "a secret has an id or a source"),
        ("RUN --mount=type=tmpfs,target=/x,size=abc x", "size=abc is none"),
        ("RUN --mount=type=cache,target=/x,uid=a x", "uid=a is none"),
        ("RUN --mount=type=ssh,mode=999 x", "mode=999 is none"),
        ("ARG T=ramfs\nRUN --mount=type=$T,target=/x x", "no mount is of type 'ramfs'"),
        ("ENV", "ENV needs a value"),
        ("RUN --mount=type=bind,source=a.txt,target=/x,rw=maybe x", "rw=maybe is neither true nor"),
        ("RUN --mount='type=bind,\"source=a,b\",target=/x' x", "source=a,b: the engine takes no"),
        ("ENV A", "ENV A has no value"),
        ("LABEL a=b c", "LABEL: c has no ="),
        ("ENV A=b =c", "ENV =c names nothing"),
        ("ARG A\nARG =c", "ARG =c names nothing"),
        ("VOLUME []", "VOLUME of nothing"),
        ('VOLUME /x ""', "VOLUME of nothing"),
        ("SHELL []", "SHELL of nothing"),
        ('CMD ["a", 1]', "CMD: a list holds strings only"),
        ('VOLUME ["/a"] /b', "VOLUME: something stands behind the list"),
        ('ONBUILD RUN ["a"] || b', "RUN: something stands behind the list"),
        ("EXPOSE http", "EXPOSE http: that is no port"),
        ("ARG P=80-70\nEXPOSE $P", "EXPOSE 80-70: that is no port"),
        ("EXPOSE 53/icmp", "EXPOSE 53/icmp: that is no port"),
        ("EXPOSE 65536", "EXPOSE 65536: that is no port"),
        ("SHELL /bin/sh", "SHELL takes a list"),
        ("STOPSIGNAL SIGNOPE", "there is no signal 'SIGNOPE'"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD can't keep ONBUILD"),
        ("ONBUILD RUN <<E\nx\nE", "the engine's ONBUILD keeps no heredoc"),
        ("COPY b.txt /", "COPY b.txt: there is no such file in the context"),
        ('COPY ["a.txt", "no such", "/"]', "COPY no such: there is no such file in the context"),
        ("COPY nothing/*.txt /", "COPY nothing/*.txt: there is no folder nothing in the context"),
        ("COPY way/y/?.txt /", "COPY way/y/?.txt: there is no folder way/y in the context"),
        ("COPY turn/a.txt /", "COPY turn/a.txt: there is no such file in the context"),
        ("COPY ../../b.txt /", "COPY ../../b.txt: there is no such file"),
        ("ARG F=b.txt\nADD $F /", "ADD b.txt: there is no such file"),
        ("COPY --from=7 / /", "there is no stage 7 before this one"),
        ("COPY --from=1 / /", "there is no stage 1 before this one"),
        ("COPY --from=biuld / /", "COPY --from biuld: biuld is no stage"),
        ("COPY --from=last / /", "COPY --from last: last is no stage before this one"),
        ("RUN --mount=from=buidl,target=/x x", "RUN --mount=from buidl: buidl is no stage"),
        ("FROM alpine:$V", "FROM alpine:$V: 'alpine:' names no image"),
        ("ONBUILD COPY --exclude=.env d /d", "the engine would count --exclude in another way"),
        ("COPY --from=Biuld / /", "COPY --from Biuld: Biuld is no stage"),
        ('RUN --mount=type=secret,id=k,env=K ["x"]', "only a shell can have a secret"),
        ("COPY <<E /x\n${X^}\nE", "in the text E: no operator ^"),
        ("FROM $NONE", "FROM $NONE: '' names no image"),
        ("FROM builds", "FROM builds: builds is no stage"),
        ('FROM base AS "x"', 'no stage can be called "x"'),
        ("FROM base AS $x", "no stage can be called $x"),
    ],
)
def test_what_ends_every_build_is_found_before(context: Path, line: str, message: str) -> None:
    text = f"FROM base AS build\nFROM base AS last\n{line}\nCOPY --from=build / /\n"
    (refusal, *_) = found(context, text)
    last = 3 + (line.startswith(("ARG", "ENV X")))  # the line before it sets something
    assert str(refusal.error).startswith(f"Containerfile:{last}: {message}")
    assert refusal.hint


@pytest.mark.parametrize(
    "line",
    [
        *(
            "COPY a.txt d /x/",
            "COPY /a.txt /x",
            "COPY ./d/e/../e /x",
            "COPY nothing* */nothing d/* d/e/none* /",
            "COPY way/x d/up/x d/up/../../a.txt way/* /",
            "COPY . /",
        ),
        *(
            "COPY $UNKNOWN/x /",
            "ADD https://x.y/z /",
            "ADD https://x.y/z.git?branch=a /",
            f'ADD --keep-git-dir=false --checksum={"0a" * 20} "https://x.y/z.git" /',
            f"ADD --checksum={'0a' * 20} $UNKNOWN /",
            f'ADD --checksum=sha256:{"0a" * 32} "https://x.y/z" /',
            "ADD --keep-git-dir a.txt /",
            "COPY --link a.txt /",
        ),
        *("COPY --chmod=u=rwX,go=rX a.txt /", "ADD --chmod=+x a.txt /"),
        *("COPY --chmod=0755 a.txt /", "COPY --chmod=$UNKNOWN a.txt /", "RUN --network=host x"),
        *("HEALTHCHECK --interval=1.5h2m.5s --retries=0 CMD x", "HEALTHCHECK  none"),
        'HEALTHCHECK --start-period=0s --timeout=0 CMD ["x"]',
        "RUN --network=none x\nADD a.txt /\nRUN --network=none y",
        *("RUN --mount=type=tmpfs,target=/x,size=1m x", "RUN --mount=target=/x,rw x"),
        *(
            "RUN --mount=type=secret,id=x,env=X x",
            "RUN --mount=type=cache,target=/x,sharing=private x",
        ),
        *(
            "MAINTAINER me",
            "ENV X=1\nARG X",
            "ENV X=1\nARG X=2",
            "STOPSIGNAL 9",
            "STOPSIGNAL SIGRTMIN+3",
            "STOPSIGNAL term",
            "CMD",
            "CMD []",
        ),
        *("COPY <<E /x\n$Y\nE", "COPY --from=node:24 / /", "COPY --from=build / /", "FROM scratch"),
        *("RUN --mount=TYPE=bind,SRC=a.txt,Target=/x,RO=1 x", "EXPOSE $UNKNOWN", "ARG TARGETARCH"),
        'RUN echo ${#A} ${A^^} "${A[@]}" "${!A}" ${A:0:2} ${A@Q} \'x\' it && say "x',
        *("RUN [ a ] || b", 'RUN [ "$A" ] && b', 'CMD ["a"] x', "EXPOSE 1.2.3.4:80:90-91/UDP"),
        *("ARG TARGETARCH=amd64 BUILDOS=linux", "ARG TARGETVARIANT="),
        *("COPY --from=0 / /", "FROM BUILD", "FROM ghcr.io/acme/builds", "HEALTHCHECK NONE"),
        *(
            "HEALTHCHECK --start-interval=1s --retries=3 CMD x",
            "RUN -- --x",
            "COPY --from= --chown= --chmod= --exclude= a.txt /x",
            "ADD --checksum= a.txt /x",
            "HEALTHCHECK --interval= --retries= CMD x",
            "STOPSIGNAL RTMAX-14",
            "COPY a.txt /\u00e9/",
            "COPY d /\u00e9",
            "COPY <<\u00e9 /x/\ny\n\u00e9",
            "COPY --from=build /a /\u00e9",
            "FROM ghcr.io/a/b:1@sha256:" + "0" * 64,
            "FROM localhost:5000/a",
            "HEALTHCHECK CMD [ -f /x ]",
            "ARG T=cache\nRUN --mount=type=$T,target=/x,sharing=$UNKNOWN x",
            "RUN --mount=type=tmpfs,target=/x,id=a,ro --mount=target=/y,id=a,env=A x",
            "RUN --mount=type=tmpfs,target=/x,size=1.5GiB --mount=type=bind x",
            "ADD https://x.y/ /x",
            "ADD https://x.y/z/ /x/",
            "COPY --link=TRUE --parents=False a.txt /x/",
            "FROM --platform= base",
            'FROM --platform="" base',
            "FROM --platform=Linux/AMD64 base",
            'SHELL [""]',
            'SHELL ["/bin/sh", "-c", ""]',
            "RUN --mount=source=a.txt,target=/x,z,relabel=shared x",
            "RUN --mount=type=cache,target=/x,Z,U --mount=type=tmpfs,target=/y,tmpfs-mode=700 x",
        ),
    ],
)
def test_what_can_be_built_is_not_refused(context: Path, line: str) -> None:
    assert found(context, f"FROM base AS build\nFROM base\n{line}\n") == []


@pytest.mark.parametrize(
    ("source", "ignored", "hidden"),
    [
        ("a.txt", ("*.txt",), True),
        ("a.txt", ("*.txt", "!a.txt"), False),
        ("d/e", ("d",), True),
        ("d", ("d", "!d/e/x"), False),
    ],
)
def test_a_source_that_the_ignore_file_hides(
    context: Path, source: str, ignored: tuple[str, ...], hidden: bool
) -> None:
    refused = found(context, f"FROM base\nCOPY {source} /\n", ignored)
    assert [each.message for each in refused] == (
        [f"COPY {source}: the ignore file leaves it out"] if hidden else []
    )


@pytest.mark.parametrize(
    "line",
    [
        *("COPY missing /", "COPY --from=nowhere- / /", "COPY --chmod=999 a.txt /", "EXPOSE x"),
        *("STOPSIGNAL x", "RUN --mount=type=none,target=/x x", "COPY <<E /x\n${X:?}\nE"),
        *("ADD --checksum=x https://x.y/z /", 'ENV X="a'),
    ],
)
def test_a_stage_that_is_not_needed_may_ask_for_what_is_not(context: Path, line: str) -> None:
    assert found(context, f"FROM base\n{line}\nFROM base\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM base AS 9", "no stage can be called 9"),
        ("FROM $NONE", "FROM $NONE: '' names no image"),
        ("FROM debian:$NONE", "FROM debian:$NONE: 'debian:' names no image"),
        ("FROM DEBIAN:1", "FROM DEBIAN:1: "),
        ("FROM --platform=a/b/c/d base", "bad platform 'a/b/c/d'"),
        ("FROM --platform=$NONE base", "bad platform"),
        ('FROM base\nVOLUME [""]', "VOLUME of nothing"),
        ("FROM base\nSHELL []", "SHELL of nothing"),
        ("FROM base\nENV X", "ENV X has no value"),
    ],
)
def test_what_no_builder_reads_is_found_in_stages_that_nothing_needs(
    context: Path, text: str, message: str
) -> None:
    (refusal,) = found(context, f"{text}\nFROM base\n")
    assert refusal.message.startswith(message)


def test_a_value_of_several_lines_after_env(context: Path) -> None:
    text = "FROM base\nENV X=1\nARG X\nARG Y\n"
    given = {"X": "a\nb", "Y": "a\nb"}
    (refusal,) = found(context, text, arguments=given)
    assert str(refusal.error).startswith("Containerfile:3: a value of several lines after ENV")


def test_an_archive_keeps_its_owners(context: Path) -> None:
    with tarfile.open(context / "a.tgz", "w:gz") as archive:
        archive.add(context / "a.txt", "a.txt")
    text = "FROM base\nADD --chown=1:2 a.txt d a.tgz /x/\n"
    (refusal,) = found(context, text)
    assert str(refusal.error).startswith("Containerfile:2: ADD --chown a.tgz: the engine keeps")
    assert not found(context, text.replace("ADD", "ADD --unpack=false"))
    assert not found(context, text.replace("ADD --chown=1:2", "ADD --unpack=true"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ARG TARGETARCH=arm64\nFROM base\n", None),
        ("FROM base\nARG X TARGETPLATFORM=linux/s390x\n", None),
        ("FROM base\nARG TARGETSTAGE=x\n", None),
        ("FROM base\nARG TARGETSTAGE=x\nARG TARGETSTAGE=y\n", 3),
        ("FROM base\nARG TARGETARCH\nFROM base\nCOPY --from=0 . .\nARG TARGETARCH=arm64\n", 5),
        ("FROM --platform=$TARGETPLATFORM base\nARG TARGETPLATFORM=linux/s390x\n", 2),
        ("ARG TARGETARCH=arm64\nFROM base\nARG TARGETARCH\nARG TARGETARCH=amd64\n", 3),
        ("FROM base AS unused\nARG TARGETOS=windows\nFROM base\nARG TARGETOS\n", None),
        ("ARG OWN=amd64\nARG TARGETARCH=$OWN\nFROM base\nARG TARGETARCH\n", None),
        ("FROM base\nARG OWN=amd64 TARGETARCH=$OWN\nARG TARGETARCH\n", None),
        ("ARG OWN=arm64\nARG TARGETARCH=$OWN\nFROM base AS arm64\nFROM $TARGETARCH\n", None),
    ],
)
def test_several_values_of_what_builders_set(context: Path, text: str, line: int | None) -> None:
    refused = [str(each.error) for each in found(context, text)]
    assert bool(refused) == (line is not None)
    assert all(each.startswith(f"Containerfile:{line}: TARGET") for each in refused[-1:])
    given = {"TARGETARCH": "x", "TARGETSTAGE": "x", "TARGETPLATFORM": "linux/amd64"}
    assert not found(context, text, arguments=given)


@pytest.mark.parametrize("network", ["none", "private"])
def test_no_network_but_the_machines_is_promised_under_chroot(context: Path, network: str) -> None:
    text = read_containerfile("FROM base\nCOPY a.txt /\nRUN x\nRUN --network=host y\n")
    shown = Shown(folder=context, matcher=Matcher(()))

    def lines(*, own_network: bool) -> list[int]:
        refused = refusals(
            text,
            target=None,
            variables={},
            given={"base": None},
            shown=shown,
            network=network,
            own_network=own_network,
        )
        return [each.instruction.line for each in refused]

    assert lines(own_network=False) == [3]
    assert lines(own_network=True) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM --platform=linux/arm64 base\n", "the image for linux/amd64 would be one for"),
        ("FROM --platform=arm64 base AS a\nFROM a\n", "the image for linux/amd64 would be one for"),
        ("FROM --platform=a/b/c/d x\n", "bad platform 'a/b/c/d'"),
        ("FROM --platform=$NOTHING x\n", "bad platform"),
        ("FROM --platform=linux/amd64 base\n", ""),
        ("FROM --platform=$TARGETPLATFORM base\n", ""),
        ("FROM --platform=linux/arm64 base AS a\nFROM scratch\nCOPY --from=a / /\n", ""),
    ],
)
def test_an_image_of_another_platform_than_is_built_is_refused(
    context: Path, text: str, message: str
) -> None:
    refused = [str(each.error) for each in found(context, text)]
    assert len(refused) == bool(message)
    assert all(each.startswith(f"Containerfile:1: {message}") for each in refused)
