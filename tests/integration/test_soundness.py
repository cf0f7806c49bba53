"""Images that can't start on one of their platforms: found before anything names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builds import busybox
from tests.shops import BASE, Done, Shop, environment

pytestmark = pytest.mark.integration

# Each image has one fault, on arm64 alone where its Containerfile can tell.
FAULTY = {
    "foreign": (
        'FROM base\nCOPY --chmod=755 busybox-amd64 /usr/bin/app\nENTRYPOINT ["app"]\n',
        (
            "foreign/Containerfile:2: foreign linux/arm64: app is a program for amd64, "
            "not linux/arm64 [foreign-binary]"
        ),
    ),
    "mode": (
        (
            "FROM base\nARG TARGETARCH\nCOPY --chmod=755 run.sh /run.sh\n"
            "RUN <<EOF\nif [ $TARGETARCH = arm64 ]; then chmod 644 /run.sh; fi\n"
            'EOF\nCMD ["/run.sh"]\n'
        ),
        (
            "mode/Containerfile:4: mode linux/arm64: /run.sh is not executable: its mode is 0644 "
            "[not-executable]"
        ),
    ),
    "empty": (
        (
            "FROM base AS build\nARG TARGETARCH\n"
            "RUN cp /bin/busybox /app && if [ $TARGETARCH = arm64 ]; then : > /app; fi\n"
            'FROM base\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n'
        ),
        "empty/Containerfile:5: empty linux/arm64: /app is empty [empty-entrypoint]",
    ),
    "user": (
        'FROM base\nUSER app\nCMD ["sh"]\n',
        (
            "user/Containerfile:2: user linux/amd64, linux/arm64: user 'app' does not exist: "
            "no /etc/passwd [unknown-user]"
        ),
    ),
}
SOUND = """\
FROM base
RUN <<EOF
echo 'app:x:10:10::/:/bin/sh' > /etc/passwd
mkdir -p /opt && ln -s /bin/sh /opt/link
printf '#!/bin/env -S X=1 sh\\n' > /opt/run && chmod 755 /opt/run
EOF
COPY busybox-amd64 /firmware/other
USER app
ENV PATH=/opt:/bin
CMD ["run", "--now"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("sound")
    shop = Shop(root=folder / "shop", environment=environment(folder))
    for name in ("base", *FAULTY, "sound"):
        shop.write(f"{name}/run.sh", "#!/bin/sh\n")
        for each in ("amd64", "arm64"):
            (shop.root / name / f"busybox-{each}").write_bytes(busybox(each).read_bytes())
    shop.write("base/Containerfile", BASE.replace("mkdir /tmp", "mkdir -p /tmp /etc /usr/bin"))
    for name, (text, _) in FAULTY.items():
        shop.write(f"{name}/Containerfile", text)
    shop.write("sound/Containerfile", SOUND)
    shop.write(".gitignore", "/dist/\n")
    write_configuration(shop, ["sound", *FAULTY])
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.0.0")
    return shop


def write_configuration(shop: Shop, images: list[str], more: str = "") -> None:
    tables = "".join(
        f'[images.{name}]\ncontext = "{name}"\ncontexts = {{ base = "image:base" }}\n'
        for name in images
    )
    base = '[images.base]\ncontext = "base"\npublish = false\n'
    shop.write("podbuild.toml", f'[project]\nname = "shop"\n{base}{tables}{more}')


def tags_of(shop: Shop) -> list[str]:
    """Give every tag that a layout of the project has."""
    indexes = Path(shop.root, "dist/registry").glob("*/index.json")
    entries = [each for path in indexes for each in json.loads(path.read_text())["manifests"]]
    named = (
        each.get("annotations", {}).get("org.opencontainers.image.ref.name") for each in entries
    )
    return [name for name in named if name]


@pytest.fixture(scope="module")
def refused(shop: Shop) -> Done:
    return shop("release", "v1.0.0", "--no-progress")


def test_nothing_is_tagged_where_an_image_can_not_start(shop: Shop, refused: Done) -> None:
    assert refused.code == 10, refused.text
    assert not tags_of(shop)
    assert "Traceback" not in refused.text


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_named_with_the_line_that_made_it(refused: Done, name: str) -> None:
    assert FAULTY[name][1] in refused.err
    assert refused.err.count(FAULTY[name][1]) == 1


def test_what_is_sound_is_released_and_not_read_again(shop: Shop, refused: Done) -> None:
    assert "sound linux/" not in "".join(x for x in refused.err.splitlines() if "[" in x)
    ignored = '[audit]\nignore = ["foreign:foreign-binary"]\n'
    write_configuration(shop, ["sound", "foreign"], ignored)
    shop.commit("v1.0.1")
    for layer in Path(shop.environment["XDG_CACHE_HOME"]).glob("podbuild/layers/*/*"):
        layer.unlink()
    done = shop("release", "v1.0.1", "--no-progress")
    assert done.code == 0, done.text
    assert "1.0.1" in tags_of(shop)
    assert not [*Path(shop.environment["XDG_CACHE_HOME"]).glob("podbuild/layers/*/*")]
