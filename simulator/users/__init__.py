"""The users: what they like and how they respond, what they remember, how they are stored."""
