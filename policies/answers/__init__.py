"""What users answer when they are shown something: levels, exposures and taste learned from skips
as well as clicks. Needs no torch.
"""
