"""Engines and emulators: found, installed, recorded."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
