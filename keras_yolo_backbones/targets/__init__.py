"""What devices can run."""
