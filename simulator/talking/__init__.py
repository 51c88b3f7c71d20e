"""A person in the place of a simulated user: a conversation with a policy of a finished run."""
