"""What retraining on one's own feedback does: measures by round, effects, report."""
