"""Every command of the toolkit: its module, and what it is for."""

COMMANDS = {
    "sample": ("simulator.sample", "write a sample log to try everything on"),
    "run": ("simulator.run", "rehearse an A/B test"),
    "fit": ("simulator.fit", "fit users to a log once"),
    "validate": ("simulator.validate", "are the users to be believed?"),
    "study": ("simulator.study", "feedback loops; and whether our own judgement is calibrated"),
    "report": ("analysis.report", "judge a run again, or the log of a live test"),
    "chat": ("simulator.chat", "be the user: talk to a policy of a finished run"),
    "power": ("analysis.power", "how many users and days the next test needs"),
    "export": ("analysis.export", "a run's impressions as RecBole or Open Bandit files"),
    "evaluate": ("gptrec.evaluate", "models offline: leave one out, or what is clicked when shown"),
    "completion": ("gptrec.completion", "what a shell needs to complete all this"),
    "doctor": ("gptrec.doctor", "what is installed, threads, device"),
}
