"""Passes over functional models: each returns a new model and leaves the one it was given untouched."""
