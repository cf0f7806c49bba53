"""What podbuild says about images: what is in them, how they were made, and that they are ours."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
