"""What was done, for people, machines and CI."""
