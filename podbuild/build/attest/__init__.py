"""What podbuild says about images: what is in them, how they were made, and that they are ours."""
