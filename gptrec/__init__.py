"""RecGPT: recommendation as a conversation with items as words (arXiv 2404.08675)."""

import sys

if sys.argv[:1] == ["-m"]:  # a command: what it is going to import has to be ours
    try:
        from policies.common import siblings
    except ImportError:
        sys.exit("error: another package 'policies' stands before that of this toolkit; rename it")
    siblings.check()
