"""What every family stands on: its frame, releases, layouts, scales and origins."""
