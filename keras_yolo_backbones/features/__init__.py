"""Features of many images: read, run, pooled and written as Parquet shards, restartable."""
