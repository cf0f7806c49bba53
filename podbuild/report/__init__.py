"""What was done, for people, machines and CI."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
