"""Users held against held-out days."""
