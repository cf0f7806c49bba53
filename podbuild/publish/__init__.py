"""Registries: upload by digest, move tags, verify, retention."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
