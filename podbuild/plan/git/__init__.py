"""What git and the CI system say."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
