"""The frame store: Parquet parts of sampled frames, and what is derived from them."""
