"""The rows of an experiment and how it was planned, of a run or of a live log."""
