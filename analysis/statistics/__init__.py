"""Public functions on arrays or sufficient statistics."""
