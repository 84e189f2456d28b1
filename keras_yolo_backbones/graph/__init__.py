"""Passes over functional models: each takes a model, returns a new one, and leaves its source untouched."""
