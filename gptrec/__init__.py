"""RecGPT: recommendation as a conversation with items as words (arXiv 2404.08675)."""
