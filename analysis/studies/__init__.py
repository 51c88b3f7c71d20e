"""Many tests: whether the judgement itself is calibrated, and plans for the next test."""
