"""Numbers: effects, looks, segments, the feedback loop, off-policy estimates."""
