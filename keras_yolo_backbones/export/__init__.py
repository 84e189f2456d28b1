"""Getting a model out: each exporter fuses, converts, runs the artifact, compares it with the model, then publishes."""
