"""Any file that people have, as a data set: nothing lost without a word."""
