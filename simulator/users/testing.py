"""`check_user_model`: the contract of users as an executable test. Shipped, for third parties.

    python -c "from simulator.users.testing import check_user_model; from my_users import MyUsers; \
check_user_model(MyUsers)"
"""

from collections.abc import Callable

import numpy as np

from policies.calls import own_chance, read_only
from policies.draws import Draws, generator, key_of
from policies.testing import small_log
from simulator.users.base import UserModel
from simulator.users.state import Feedback, OwnState
from simulator.users.strangers import (
    Strangers,
    UserModelError,
    UserModelFailure,
    calling,
    check_methods,
    check_sizes,
)

N_USERS, N_ITEMS, K = 60, 40, 5
PAGES = 3  # of each user, one after the other
SURE = 5.0  # standard errors


def check_user_model(make: Callable[[], UserModel], n_draws: int = 10_000) -> None:
    """Makes users of a small log and raises UserModelError at the first rule of the contract that
    they break; silent when all is well.

    Args:
        make: makes fresh users, e.g. the class itself.
        n_draws: pages drawn to compare stated probabilities with what is clicked.
    """
    try:
        _check(make, n_draws)
    except UserModelFailure as failure:
        raise UserModelError(str(failure)) from None


def _check(make: Callable[[], UserModel], n_draws: int) -> None:
    users = _taught(make)
    whole = _lived(users, np.arange(N_USERS))
    _check_again(users, whole)
    _check_alone(users, whole)
    _check_state(users, whole)
    _check_restored(users, make, whole)
    _check_probability(users, n_draws)
    _check_truth(users, n_draws)
    _check_level(users)


def _taught(make: Callable[[], UserModel]) -> Strangers:
    """Fresh users who have learned from the small log, if they can."""
    with calling("check_user_model", "its constructor"):
        model = make()
        check_methods(model)
    log, catalogue = small_log(N_USERS, N_ITEMS)
    if callable(getattr(model, "fit", None)):
        with own_chance(0):
            model.fit(read_only(log), read_only(catalogue), generator("check users"))  # type: ignore[attr-defined]
        check_sizes(model, N_ITEMS)
    else:  # a catalogue of its own
        check_sizes(model, getattr(model, "n_items", 0))
    if model.n_users < 2:
        raise UserModelError(f"n_users is {model.n_users}; a test needs at least two users")
    rows = np.arange(N_USERS) % model.n_users
    return Strangers("check_user_model", model, rows)


Life = list[np.ndarray]
ANSWERS = tuple(Feedback.__dataclass_fields__)
PARTS = ("first_visit", *ANSWERS, "next_visit")


def _draws(users: np.ndarray, page: int) -> Draws:
    return Draws(key_of("check_user_model"), users, np.full(len(users), 3), page)


def _lived(users: Strangers, who: np.ndarray, restore: bool = False) -> Life:
    """A visit of some of the users, alone: times and answers in the order of `PARTS`, and what is
    in their minds at the end.

    Args:
        restore: whether their minds go through a file after each page.
    """
    some = users.of_users(who)
    place, state = np.arange(len(who)), some.start(len(who), 0.0)
    now = some.first_visit(place, 0.0, _draws(who, 0))
    if len(who) > 10 and not np.isfinite(now).any():
        raise UserModelError("first_visit gives inf to everybody: nobody ever comes")
    now = np.where(np.isfinite(now), now, 1.0)
    found: Life = [now]
    for page in range(PAGES):
        items = _slates(who, page, some.n_items)
        given = some.respond(state, place, items, np.full(len(who), page), now, _draws(who, page))
        now = now + given.seconds
        found += [getattr(given, name) for name in ANSWERS]
        if restore:
            state = OwnState({name: array.copy() for name, array in state.arrays.items()})
    found.append(some.next_visit(state, place, now, _draws(who, PAGES)))
    return found + [state.arrays[name] for name in sorted(state.arrays)]


def _slates(who: np.ndarray, page: int, n_items: int) -> np.ndarray:
    order = Draws(key_of("slates"), who, who * 0, page).uniform("order", n_items)
    slates: np.ndarray = np.argsort(order, axis=1)[:, :K].astype(np.int32) + 1
    return slates


def _same(one: Life, other: Life) -> str | None:
    """What differs first."""
    if len(one) != len(other):
        return "the arrays of the state"
    names = [PARTS[0], *(name for _ in range(PAGES) for name in ANSWERS), PARTS[-1]]
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return names[i] if i < len(names) else "the state"
    return None


def _check_again(users: Strangers, whole: Life) -> None:
    differs = _same(whole, _lived(users, np.arange(N_USERS)))
    if differs is not None:
        raise UserModelError(
            f"the same users and draws gave another {differs}: answers depend on the order of"
            " calls; keep what users remember in the state, and take random numbers from `draws`"
        )


def _check_alone(users: Strangers, whole: Life) -> None:
    shuffled = generator("check users", "order").permutation(N_USERS)
    for label, who in (
        ("alone", np.array([4])),
        ("alone", np.array([50])),
        ("in a batch of 7", np.arange(7)),
        ("in another order", shuffled),
    ):
        differs = _same([x[who] for x in whole], _lived(users, who))
        if differs is not None:
            raise UserModelError(
                f"a user asked {label} gives another {differs} than in the whole batch; an answer"
                " may depend on its own row alone"
            )


def _check_state(users: Strangers, whole: Life) -> None:
    differs = _same(whole, _lived(users, np.arange(N_USERS), restore=True))
    if differs is not None:
        raise UserModelError(
            f"users whose state was stored and restored give another {differs}; put everything that"
            " matters into the arrays that start gives"
        )


def _check_restored(users: Strangers, make: Callable[[], UserModel], whole: Life) -> None:
    """Another process makes the users anew."""
    learned = {name: array.copy() for name, array in users.learned_arrays().items()}
    model = make()
    if callable(getattr(model, "restore", None)):
        with own_chance(0):
            model.restore(learned)  # type: ignore[attr-defined]
        how = "restored from state()"
    else:
        how = "made anew, as another process makes them,"
    for name in ("n_users", "n_items"):
        if getattr(model, name, None) != getattr(users.model, name):
            raise UserModelError(
                f"users {how} have {name} {getattr(model, name, None)}, not"
                f" {getattr(users.model, name)}; give state() and restore() all that fit learned"
            )
    other = Strangers(users.name, model, users.rows)
    differs = _same(whole, _lived(other, np.arange(N_USERS)))
    if differs is not None:
        raise UserModelError(
            f"users {how} give another {differs}; give state() and restore() all that fit learned,"
            " and keep what users remember in the arrays that start gives"
        )


def _check_probability(users: Strangers, n: int) -> None:
    """What is stated of a page against what is clicked of it."""
    for user, pages in ((5, 1), (17, 2), (44, 1)):
        given = _asked_often(users, n, _slates(np.array([user]), 0, users.n_items)[0], user, pages)
        if np.isnan(given.probability).any():
            return
        for slot in range(given.clicked.shape[1]):
            _compare(
                float(given.probability[:, slot].mean()),
                float(given.clicked[:, slot].mean()),
                n,
                f"probability of slot {slot} on page {pages - 1}",
            )


def _check_truth(users: Strangers, n: int) -> None:
    """What is stated of every item shown alone against what is clicked of it."""
    if not users.knows_truth:
        return
    one, who = users.of_users(np.array([5])), np.arange(N_USERS)
    chances = one.click_probability(one.start(1, 0.0), np.array([0]), np.array([1.0]))[0]
    every = users.click_probability(users.start(N_USERS, 0.0), who, np.ones(N_USERS))
    if not np.allclose(every[5], chances, atol=1e-6):
        raise UserModelError(
            "click_probability of a user is another one in a batch; it may depend on its own row"
            " alone"
        )
    for item in (1, users.n_items // 2, users.n_items):
        clicked = _asked_often(users, n, np.array([item], np.int32)).clicked
        _compare(
            float(chances[item]), float(clicked.mean()), n, f"click_probability of item {item}"
        )


def _asked_often(
    users: Strangers, n: int, slate: np.ndarray, user: int = 5, pages: int = 1
) -> Feedback:
    """One user, fresh each time, with other draws: the answers to the last of so many pages."""
    many, place = users.of_users(np.full(n, user)), np.arange(n)
    state, items = many.start(n, 0.0), np.tile(slate, (n, 1)).astype(np.int32)
    for page in range(pages):
        draws = Draws(key_of("check_user_model", "often"), np.full(n, user), place, page)
        given = many.respond(state, place, items, place * 0 + page, np.ones(n) + 60 * page, draws)
    return given


def _compare(stated: float, clicked: float, n: int, what: str) -> None:
    slack = SURE * np.sqrt(max(stated * (1 - stated), 1 / n) / n) + 1e-6
    if abs(stated - clicked) > slack:
        raise UserModelError(
            f"{what} is stated as {stated:.4f}, and {clicked:.4f} of {n} draws were clicks; state"
            " the chance with which respond draws, of being looked at included"
        )


def _check_level(users: Strangers) -> None:
    """A level that can be set is followed."""
    if users.level is None:
        return
    rates = []
    for by in (-1.5, 1.5):
        moved = users.with_level(users.level + by)
        who = np.tile(np.arange(N_USERS), 40)
        many = moved.of_users(who)
        draws = Draws(key_of("check_user_model", "level"), who, np.arange(len(who)), 0)
        items = _slates(np.arange(len(who)), 0, users.n_items)
        place = np.arange(len(who))
        given = many.respond(
            many.start(len(who), 0.0), place, items, place * 0, np.ones(len(who)), draws
        )
        rates.append(float(given.clicked.mean()))
    if rates[1] <= rates[0]:
        raise UserModelError(
            f"level moved by 3 logits leaves the click rate where it is ({rates[0]:.4f},"
            f" {rates[1]:.4f}); add self.level to the logit of every click, or have no such"
            " attribute"
        )
