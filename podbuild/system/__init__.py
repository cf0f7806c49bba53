"""This machine: processes, files, locks, signals, the console."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
