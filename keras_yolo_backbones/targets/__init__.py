"""What devices take of a file."""
