"""Layers and cache mounts that runners share."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
