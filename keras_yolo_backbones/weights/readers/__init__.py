"""A stranger's bytes -> named tensors. Nothing here knows Keras or a network."""
