"""Builders: podman services of a run's own on other machines, reached over the system's ssh."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
