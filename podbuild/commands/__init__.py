"""What each command does, as a recipe that reads aloud."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
