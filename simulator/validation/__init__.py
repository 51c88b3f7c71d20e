"""Users held against held-out days."""

LEARNERS = ("popularity", "itemknn", "sasrec", "gptrec")  # models that learn from users' answers
