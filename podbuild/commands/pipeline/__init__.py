"""Pipelines for CI systems: legs that build a platform each, and the join that releases."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
