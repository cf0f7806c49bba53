# For users: five lines that any project with a podbuild.toml can copy.
PODBUILD ?= .venv/bin/podbuild

build:    ; $(PODBUILD) build
push:     ; $(PODBUILD) push
manifest: ; $(PODBUILD) manifest
release:  ; $(PODBUILD) release $(VERSION)
doctor:   ; $(PODBUILD) doctor

# For work on podbuild itself. `make demo` and `make test` set up what they need.
build push manifest release doctor: | .venv/bin/podbuild
.venv/bin/podbuild: ; scripts/setup run

setup: ; scripts/setup dev
demo:  ; scripts/demo
image: ; scripts/image
test:  ; scripts/test
unit:  ; scripts/unit $(PYTHON)
newest: ; scripts/unit "$$(scripts/pythons 3.14)"
pythons: ; scripts/pythons | while read -r python; do scripts/unit "$$python" || exit; done
soak:
	scripts/unit --hypothesis-profile=soak
	scripts/test -m soak
bench: ; scripts/bench
dist: setup
	.venv/bin/python -m hatchling build
parity: ; scripts/parity
lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/shellcheck $(shell grep -l '^#!.*bash' scripts/* .ci/run)
type: setup
	.venv/bin/mypy
clean: ; rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: build push manifest release doctor setup demo image test unit newest pythons soak bench dist parity lint type clean
