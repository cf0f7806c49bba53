"""What each command does, as a recipe that reads aloud."""
