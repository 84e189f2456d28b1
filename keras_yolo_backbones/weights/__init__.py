"""Getting trained weights into a model, each tensor in its place or an error."""
