"""RecGPT: recommendation as a conversation with items as words (arXiv 2404.08675)."""

import sys

if sys.argv[:1] == ["-m"]:  # a command: what it is going to import has to be ours
    try:
        from policies.common import siblings
    except ImportError as error:
        if (error.name or "policies").partition(".")[0] != "policies":
            sys.exit(
                f"error: '{error.name}' is not installed; make test installs all that is needed"
            )
        sys.exit("error: another package 'policies' stands before that of this toolkit; rename it")
    siblings.check()
