"""Be the user: talk to a policy of a finished run.

python -m simulator.chat runs/RUN
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.terminal import guarded

if TYPE_CHECKING:
    from simulator.talking.conversation import Conversation
    from simulator.talking.words import Names

PORT = 8642
EPILOG = """Below each page you type
  1 3           you click the first and the third item
                nothing: you skip them all
  more like 3   you click the third, and the next page goes to the interest nearest to it
  q             the end

Examples:
  python -m simulator.chat runs/RUN
  python -m simulator.chat runs/RUN --policy sasrec --as u012 --titles sample/items.csv
  python -m simulator.chat runs/RUN --browser"""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m simulator.chat",
        description="Be the user of a finished run: a policy, as the test left it, shows you pages,"
        " says what it expects of you, and goes on with your answers. A policy that says several"
        " interests names them by their items.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    p.add_argument("--policy", metavar="ARM", help="whom to talk to (default: the first)")
    p.add_argument(
        "--as",
        dest="user",
        metavar="USER",
        help="be this user of the log, with his history (default: somebody new, whom the policy"
        " does not know); a policy that retrained remembers his simulated days as well",
    )
    p.add_argument("--titles", type=Path, metavar="FILE", help="CSV with columns item and title")
    p.add_argument(
        "--browser", action="store_true", help="a page in the browser, from this machine alone"
    )
    p.add_argument("--port", type=int, default=PORT, help=f"of that page (default {PORT})")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted."""
    given = parser().parse_args(arguments)
    return guarded(lambda: _chat(given), interrupted="the conversation is over", full="")


def _chat(given: argparse.Namespace) -> None:
    # Late: who asks for help does not wait for torch.
    from simulator.talking.browser import serve
    from simulator.talking.conversation import open_stage
    from simulator.talking.words import Names, titles_of

    titles = None if given.titles is None else titles_of(given.titles)
    stage = open_stage(given.run)
    names = Names(stage.catalogue, titles)
    if given.browser:
        serve(stage, names, given.policy, given.user, given.port)
        return
    conversation = stage.begin(given.policy, given.user)
    who = "who does not know you"
    if given.user is not None:
        who = f"who takes you for '{given.user}', and remembers what '{given.user}' did in the test"
    print(f"You talk to {conversation.arm}, {who}.")
    _talk(conversation, names)


def _talk(conversation: "Conversation", names: "Names") -> None:
    """Until the person has enough."""
    from simulator.talking.words import HELP, page_of, page_text, understood

    print(HELP)
    while True:
        print(f"\n{page_text(page_of(conversation, names))}")
        while True:
            try:
                text = input("> ").strip()
                if text.lower() in ("q", "quit", "exit"):
                    return
                typed = understood(text, conversation.slate_size)
            except EOFError:
                return
            except InputError as error:
                print(error)
                continue
            break
        if typed.more_like is not None and not conversation.interests():
            print(f"({conversation.arm} has no interests: that is a click and no more)")
        slots = set(typed.clicked.nonzero()[0].tolist())
        slots |= set() if typed.more_like is None else {typed.more_like}
        named = ", ".join(str(slot + 1) for slot in sorted(slots))
        print(f"(you clicked {named})" if named else "(you skipped all of them)")
        conversation.answer(typed.clicked, typed.more_like)


if __name__ == "__main__":
    sys.exit(main())
