"""What a report holds, gathered from stored runs and evaluations."""
