"""What `podbuild init` reads in the Containerfiles of real repositories."""

from __future__ import annotations

from pathlib import Path

from podbuild.commands.init import initial_files, look
from podbuild.config.choices import Format
from podbuild.config.load import parse_config
from podbuild.config.model import Config

FILES = {
    "package.json": "",
    "src/app.js": "",
    "deploy/docker/Dockerfile": "FROM node:22\nCOPY package.json ./\nCOPY src /app/src\n",
    "services/api/Dockerfile": """\
FROM base AS build
RUN --mount=type=secret,id=npm-token --mount=type=secret,id=pip,env=PIP_INDEX true
RUN --mount=type=ssh --mount=type=ssh,id=deploy git clone x
COPY ["main.go", "go.*", "/src/"]
FROM scratch
COPY --from=build /x /x
COPY --from=assets /y /y
HEALTHCHECK CMD ["/x"]
""",
    "services/api/main.go": "",
    "services/api/go.mod": "",
    "base/Containerfile": "FROM debian:trixie\nADD https://example.com/x /x\nCOPY <<EOF /y\nEOF\n",
    "assets/Dockerfile": "FROM assets\nRUN --mount=type=bind,source=package.json,target=/p true\n",
    "web/Dockerfile": "FROM nginx\nCOPY $FILES dist/made-by-ci.js /x/\nHEALTHCHECK NONE\n",
    "templates/Dockerfile.j2": "FROM {{ base }}\n",
    "templates/Dockerfile.tmpl": "FROM x\n",
    "tools/dockerfile.go": "package dockerfile\n",
    "tools/Dockerfile.orig": "FROM x\n",
    "go/Dockerfile.go": "FROM golang:1.25\n",
    "broken/Dockerfile": "RUN true\n",
}


def initial(folder: Path) -> Config:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    text = initial_files(look(folder))[0].text
    return parse_config(text, folder / "podbuild.toml", {})


def test_what_the_files_say_stands_in_the_configuration(tmp_path: Path) -> None:
    config = initial(tmp_path)
    contexts = {image.name: str(image.context.relative_to(tmp_path)) for image in config.images}
    folder = tmp_path.name.lower().replace("_", "-")
    assert contexts == {
        folder: ".",  # the sources of deploy/docker/Dockerfile
        "api": "services/api",
        "base": "base",
        "assets": ".",
        "web": "web",
        "go": "go",
        "broken": "broken",
    }


def test_other_images_secrets_ssh_and_format(tmp_path: Path) -> None:
    config = initial(tmp_path)
    api = config.image("api")
    assert api.inner == {"base": "base", "assets": "assets"}
    assert {secret.id: secret.env for secret in api.secrets} == {
        "npm-token": "NPM_TOKEN",
        "pip": "PIP_INDEX",
    }
    assert api.ssh == ("default", "deploy")
    assert api.format is Format.DOCKER
    assert config.image("web").format is Format.OCI
    assert config.image("assets").inner == {}  # an image is not built on itself


def test_templates_and_code_are_no_images(tmp_path: Path) -> None:
    names = {str(image.containerfile.relative_to(tmp_path)) for image in initial(tmp_path).images}
    assert not {name for name in names if name.startswith(("templates/", "tools/"))}
    assert {"go/Dockerfile.go", "broken/Dockerfile"} <= names
