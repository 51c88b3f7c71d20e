"""The users: what they like and answer, what is on their minds, how they are stored."""
