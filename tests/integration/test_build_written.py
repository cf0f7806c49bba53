"""What Containerfiles and configuration say holds in OCI media types too, with real engines.

The configs are those that BuildKit (Docker 28.5) makes of the same Containerfiles, project texts
aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.jobs import build_all
from podbuild.build.model import Built
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import BuildError
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue
from tests.builds import NATIVE, Bench, Open, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

PARENT = """\
FROM base
SHELL ["/bin/sh", "-e", "-c"]
ONBUILD RUN echo "$0 $-" > /trigger
ONBUILD COPY a /copied
HEALTHCHECK --interval=5s --start-interval=2s CMD test -f /trigger
STOPSIGNAL SIGUSR1
"""
TOML = f"""
[defaults]
platforms = ["{NATIVE}"]
[images.parent]
context = "parent"
contexts = {{ base = "image:base" }}
labels = {{ price = "$5 off $HOME", LIKE = "parent" }}
[images.zstd]
context = "child"
contexts = {{ parent = "image:parent" }}
compression = "zstd"
[images.direct]
context = "direct"
contexts = {{ parent = "image:parent" }}
layers = false
[images.whole]
context = "whole"
contexts = {{ parent = "image:parent" }}
layers = false
[images.docker]
context = "child"
contexts = {{ parent = "image:parent" }}
format = "docker"
"""
TITLE = "org.opencontainers.image.title"
LABELS = {"price": "$5 off $HOME", "LIKE": "parent"}
HEALTH: JSONValue = {
    "Test": ["CMD-SHELL", "test -f /trigger"],
    "Interval": 5_000_000_000,
    "StartInterval": 2_000_000_000,
}
COMMON: dict[str, JSONValue] = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "WorkingDir": "/",
    "StopSignal": "SIGUSR1",
    "Shell": ["/bin/sh", "-e", "-c"],
}
CHILD: dict[str, JSONValue] = {
    "Cmd": ["/bin/sh", "-e", "-c", "exec top"],
    "ArgsEscaped": True,
    "Healthcheck": HEALTH,
}
CONFIGS: dict[str, dict[str, JSONValue]] = {
    "parent": {
        "Healthcheck": HEALTH,
        "OnBuild": ['RUN echo "$0 $-" > /trigger', "COPY a /copied"],
    },
    "zstd": CHILD,
    "docker": CHILD,
    "direct": {"Healthcheck": {"Test": ["NONE"]}},
    "whole": {"Healthcheck": HEALTH},
}


@pytest.fixture(scope="module", params=list(EngineKind))
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    found = new_bench(tmp_path_factory.mktemp("written"), request.param)
    found.write("parent/Containerfile", PARENT)
    for name, text in (
        ("child", "FROM parent\nCMD exec top\nLABEL LIKE=child\n"),
        ("direct", "FROM parent\nRUN test -f /trigger\nHEALTHCHECK NONE\n"),
        ("whole", "FROM parent\n"),
        ("broken", "FROM parent\nRUN false; true\n"),
    ):
        found.write(f"{name}/Containerfile", text)
        found.write(f"{name}/a", name)
    yield found
    remove_bench(found)


@pytest.fixture(scope="module")
def place(bench: Bench) -> Iterator[Open]:
    with opened(bench) as found:
        yield found


@pytest.fixture(scope="module")
def built(place: Open) -> Built:
    return place.build(TOML + place.bench.write_base(NATIVE))


def image(built: Built, name: str) -> Manifest:
    return built.images[Job(name, NATIVE)].manifest


@pytest.mark.parametrize("name", CONFIGS)
def test_the_config_is_the_one_that_buildkit_makes(place: Open, built: Built, name: str) -> None:
    labels: dict[str, JSONValue] = {**LABELS, TITLE: name}
    if name in ("zstd", "docker"):
        labels["LIKE"] = "child"
    config = place.config(name, image(built, name))["config"]
    assert config == COMMON | CONFIGS[name] | {"Labels": labels}


def test_triggers_run_in_the_shell_of_the_base(place: Open, built: Built) -> None:
    files = place.files("direct", image(built, "direct"))
    assert files["trigger"] == b"/bin/sh ce\n"
    assert files["copied"] == b"direct"
    assert place.files("whole", image(built, "whole"))["copied"] == b"whole"


def test_media_types_are_those_of_the_format(built: Built) -> None:
    for name in ("parent", "zstd", "direct", "whole"):
        found = image(built, name)
        assert found.media_type == MediaType.OCI_MANIFEST
        kinds = {layer.media_type.rpartition(".tar")[0] for layer in found.layers}
        assert kinds == {"application/vnd.oci.image.layer.v1"}
        assert found.annotations == {TITLE: name}
    parent, docker = image(built, "parent"), image(built, "docker")
    assert docker.media_type == MediaType.DOCKER_MANIFEST
    shared = [layer.digest for layer in docker.layers[: len(parent.layers)]]
    assert shared == [layer.digest for layer in parent.layers]


def test_a_run_obeys_the_shell_of_its_base(place: Open, built: Built) -> None:
    assert built.images
    toml = f'{TOML}{place.bench.write_base(NATIVE)}[images.broken]\ncontext = "broken"\n'
    with pytest.raises(BuildError, match="broken"):
        place.build(f'{toml}contexts = {{ parent = "image:parent" }}\n')


def annotated(bench: Bench, words: str) -> str:
    bench.write("note/Containerfile", "FROM base\nRUN echo same > /same\n")
    return (
        f'[defaults]\nplatforms = ["{NATIVE}"]\n{bench.write_base(NATIVE)}[images.note]\n'
        f'context = "note"\ncontexts = {{ base = "image:base" }}\n{words}'
    )


def test_no_annotation_comes_from_another_projects_steps(
    bench: Bench, place: Open, tmp_path: Path
) -> None:
    note = Job("note", NATIVE)
    theirs = annotated(
        bench, "annotations = { vendor = 'they', 'a.b' = '1' }\nlabels = { l = '1' }\n"
    )
    place.build(theirs)
    mine = annotated(bench, "annotations = { other = 'mine' }\n")
    warm = place.build(mine).images[note]
    assert warm.metrics.cached_steps
    assert warm.manifest.annotations == {"other": "mine", TITLE: "note"}
    fresh = new_bench(tmp_path / "fresh", bench.toolchain.engine.kind)
    text = annotated(fresh, "annotations = { other = 'mine' }\n")
    with opened(fresh) as other:
        work = other.work(fresh.plan(text))
        cold = build_all(work)
        cold.check()
    remove_bench(fresh)
    assert not cold.images[note].metrics.cached_steps
    assert cold.images[note].manifest.digest == warm.manifest.digest


ARGUED = """\
FROM base
ARG V
ARG W
LABEL label=$V
ENV SAID=${V}
COPY --chown=$V a /in/$V/
USER $V
WORKDIR /at/$V
VOLUME ["/volume/$W"]
"""


@pytest.mark.parametrize("kind", EngineKind)
def test_no_cached_step_holds_what_an_argument_was_worth_before(
    tmp_path: Path, kind: EngineKind
) -> None:
    bench = new_bench(tmp_path / "bench", kind)
    bench.write("said/Containerfile", ARGUED)
    bench.write("said/a", "a\n")
    bench.write("parent/Containerfile", "FROM base\nONBUILD ARG V\nONBUILD LABEL label=$V\n")
    bench.write("triggered/Containerfile", "FROM parent\n")
    bench.write("blanks/Containerfile", 'FROM base\nARG W\nVOLUME ["/volume/$W"]\n')
    images = [("parent", "base", ""), ("said", "base", "{0}"), ("triggered", "parent", "{0}")]
    images.append(("blanks", "base", "{0}"))
    text = f'[defaults]\nplatforms = ["{NATIVE}"]\n{bench.write_base(NATIVE)}' + "".join(
        f'[images.{name}]\ncontext = "{name}"\ncontexts = {{{{ {base} = "image:{base}" }}}}\n{more}'
        for name, base, more in images
    )
    with opened(bench) as place:
        for value in ("1", "2"):
            built = place.build(
                text.format(f'build-args = {{ V = "{value}", W = "{value} {value}" }}\n')
            )
            said, triggered = (image(built, name) for name in ("said", "triggered"))
            path = COMMON["Env"]
            assert isinstance(path, list)
            assert place.config("said", said)["config"] == {
                "Env": [*path, f"SAID={value}"],
                "User": value,
                "WorkingDir": f"/at/{value}",
                "Volumes": {f"/volume/{value} {value}": {}},
                "Labels": {"label": value, TITLE: "said"},
            }
            assert f"in/{value}/a" in place.files("said", said)
            volumes = place.config("blanks", image(built, "blanks"))["config"]
            assert volumes == {
                "Env": path,
                "Volumes": {f"/volume/{value} {value}": {}},
                "WorkingDir": "/",
                "Labels": {TITLE: "blanks"},
            }
            labels = {"label": value, TITLE: "triggered"}
            config = place.config("triggered", triggered)["config"]
            assert config == {"Env": path, "WorkingDir": "/", "Labels": labels}
    remove_bench(bench)
