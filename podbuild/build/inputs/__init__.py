"""What reaches an image: Containerfile, context, secrets, and the hash of it all."""
