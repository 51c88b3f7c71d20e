"""What each light of a validation is about, in plain words, and what to do next."""

# Kind of light: what it says of the users, without the name of the feedback.
ABOUT = {
    "rate": "how often people answer",
    "tenths": "how sure an answer is",
    "whose": "who answers what",
    "taste": "how much people follow their taste",
    "users": "how users differ",
    "items": "how items differ",
    "fitted": "visits, on the days that were fitted",
    "held": "visits, on the days held out",
    "distances": "how visits are spread",
    "days": "whole days of users",
    "replayed": "what users make of a day's slates",
    "ranking": "which policy is better",
    "order": "which model learns more",
    "size": "how much models learn",
    "choices": "what is chosen next",
    "comparable": "whether the second log is a test at all",
    "level": "how often the second log's slates are clicked",
}
# Kind: colour -> what to do.
NEXT = {
    "rate": {
        "green": "read rates as they are",
        "amber": "read rates as rough; lifts between policies suffer less",
        "red": "do not read this rate; look whether the late days differ (a campaign, another"
        " policy), and hold out other days with --held-out-days",
    },
    "tenths": {
        "green": "nothing to do",
        "amber": "read lifts of policies that show the surest items with care",
        "red": "the surest answers are off, and so is the lift of whoever shows them: try"
        " --user-model neighbours, and judge on another metric",
    },
    "whose": {
        "green": "users know more than levels do: personalisation can be rehearsed",
        "amber": "users hardly know more than levels do: a win of a personalised policy is weak"
        " evidence; more days of log tell more",
        "red": "users do worse than levels alone: do not compare personalised policies on this"
        " answer",
    },
    "taste": {
        "green": "nothing to do",
        "amber": "lifts of personalised policies are rough",
        "red": "users have not people's taste: do not compare personalised policies with others",
    },
    "users": {
        "green": "nothing to do",
        "amber": "segments by activity or satisfaction are rough",
        "red": "do not read segments, nor how long a test must run, off these users",
    },
    "items": {
        "green": "nothing to do",
        "amber": "read coverage and top items as rough",
        "red": "do not read what an item would get off these users",
    },
    "fitted": {
        "green": "nothing to do",
        "amber": "read sessions and days active as rough",
        "red": "the fit misses its own log: report it, and do not read sessions",
    },
    "held": {
        "green": "sessions and returns can be read",
        "amber": "read sessions and days active as rough",
        "red": "do not read sessions, returns or how long a test must run",
        "none": "give a log of whole sessions if those matter to you",
    },
    "distances": {
        "green": "nothing to do",
        "amber": "read quantiles of visits as rough",
        "red": "do not read how visits are spread",
    },
    "days": {
        "green": "nothing to do",
        "amber": "the days of these users look a little unlike people's",
        "red": "the days of these users do not look like people's: see which measure is off below",
    },
    "replayed": {
        "green": "nothing to do",
        "amber": "answers of a day go together a little unlike people's",
        "red": "answers of a day do not go together as people's do: look at repeats and tiring",
        "none": "a log of more users can be asked",
    },
    "ranking": {
        "green": "lean on the users corrected by the log where it has propensities",
        "amber": "the log cannot confirm the order; run the arms that matter for a few days",
        "red": "these users rank policies against the log: do not choose a policy by them",
        "none": "log the probability with which each row is shown (a column propensity)",
    },
    "order": {
        "green": "models that learn from these users rank as before people",
        "amber": "the order is not sure: train more seeds (--seeds 5)",
        "red": "do not let these users decide between models: which of them learns more is wrong",
        "none": "name models with --learners, or give a log with more users",
    },
    "size": {
        "green": "nothing to do",
        "amber": "signs of lifts can be read, their sizes are rough",
        "red": "do not read the size of lifts between models that learn",
    },
    "choices": {
        "green": "users know what is chosen next beyond what is popular",
        "amber": "users hardly know more than what is popular: a longer log tells more",
        "red": "users know less than what is popular: do not rehearse on this log",
    },
    "known_level": {
        "green": "the level of the users fits this policy, too",
        "amber": "these users {word} what this policy gets, and so will a run: read its lift as a"
        " bound",
        "red": "these users {word} what this policy gets, and so will a run: do not read the size"
        " of its lift",
    },
    "comparable": {
        "green": "the lights below can be read",
        "amber": "the logs differ in more than the policy, and no verdict stands upon it: give a"
        " second log of the same users, place and days",
    },
    "level": {
        "green": "the level of the users fits this policy, too",
        "amber": "nobody says what random slates would get: --calibrate"
        " random_click_rate={random:.3g} meets this log",
        "red": "nobody says what random slates would get: --calibrate"
        " random_click_rate={random:.3g} meets this log",
    },
}
