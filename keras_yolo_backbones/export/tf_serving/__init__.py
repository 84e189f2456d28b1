"""SavedModels as TF Serving wants them."""
