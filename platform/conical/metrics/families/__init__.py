"""Changes of the scores at test time, one file each. They see all queries at once, so their numbers are families."""
