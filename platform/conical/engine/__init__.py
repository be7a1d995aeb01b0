"""Training, embedding and evaluation of one run in one or many processes. No Ray here: batches in, reports out."""
