"""What cleanup deletes, and what keeps an image."""
