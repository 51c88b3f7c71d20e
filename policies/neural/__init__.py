"""What sequence networks share: batches, losses, the training loop, cached keys and values."""
