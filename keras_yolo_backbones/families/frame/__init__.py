"""What every family is built on: its frame, releases, layouts, scales and origins."""
