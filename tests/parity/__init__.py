"""What BuildKit makes of small Containerfiles, recorded, and what podbuild makes of them."""
