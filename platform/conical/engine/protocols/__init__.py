"""What query and gallery are made of, one file per protocol. Nothing here loads torch before something is scored."""
