"""What every layer may use: records, errors, options, hashing, seeds. Standard library and numpy only."""
