"""What an image is made from, and the hash over it that tells whether it is built already."""

from podbuild.inputs.hash import InputHash, input_hash
from podbuild.inputs.recipe import (
    FIXED_INSTANT,
    Recipe,
    Surroundings,
    make_recipe,
    outside_images,
)

__all__ = [
    "FIXED_INSTANT",
    "InputHash",
    "Recipe",
    "Surroundings",
    "input_hash",
    "make_recipe",
    "outside_images",
]
