"""The engines' side of a build: argument lists, generated configuration, environment."""

from podbuild.engine.argv import BuildOrder, CommandLine
from podbuild.engine.environment import (
    engine_environment,
    proxies_with_login,
    storage_environment,
)
from podbuild.engine.files import (
    EngineFiles,
    storage_conf,
    user_policy,
    write_certificates,
    write_files,
    write_storage,
)
from podbuild.engine.registries import RegistriesConf, with_own
from podbuild.engine.registries_read import read_registries_conf, user_registries_conf
from podbuild.engine.storage import Storage, container_ids

__all__ = [
    "BuildOrder",
    "CommandLine",
    "EngineFiles",
    "RegistriesConf",
    "Storage",
    "container_ids",
    "engine_environment",
    "proxies_with_login",
    "read_registries_conf",
    "storage_conf",
    "storage_environment",
    "user_policy",
    "user_registries_conf",
    "with_own",
    "write_certificates",
    "write_files",
    "write_storage",
]
