"""Changes of the scores at test time, one file each. They look at all queries at once, so their numbers are families."""
