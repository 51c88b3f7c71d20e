"""The world that ships with the toolkit: its log, its users, and small files made from it."""
