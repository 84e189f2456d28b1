"""The second engine, tensorflow-model-optimization; the only part that imports it."""
