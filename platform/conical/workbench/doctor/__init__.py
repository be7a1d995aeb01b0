"""Is this machine fit to run?"""
