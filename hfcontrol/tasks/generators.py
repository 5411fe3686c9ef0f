"""Generators: start states and goals of the tasks that many plants share; plant files give them numbers.

A generator is called with the task and the parameters of its trials (np, N), and returns `draw(rng, trials, split)`, which
gives start states (n, N) and goals (n, N) or (T+1, n, N) of the n states of the plant itself. What is the same in every
training leaves `rng` untouched. `split` is "training" or "held_out"; a fixed set of targets has its held-out ones between
the trained ones, a random one is told apart by its generator of random numbers.
"""

import numpy as np

from hfcontrol.errors import TaskError

STROKE_SECONDS = 0.5  # of one minimum-jerk stroke of `follow`


def posture(plant, kernels, hand, guess, params):
    """Positions (n, N) that bring the hand to given points (2, N) [m], nearest to a guess (n,), by Gauss-Newton steps.

    Raises TaskError for a point out of reach.
    """
    x = np.zeros((plant.nx, hand.shape[1]))
    x[plant.positions] = np.asarray(guess, dtype=float)[:, None]
    for _ in range(100):
        error = hand - kernels.output(x[None], params)[0, plant.hand]
        if np.abs(error).max() < 1e-12:
            break
        J = kernels.output_jacobian(x[None], params)[0][plant.hand][:, plant.positions]
        change = np.einsum("nij,jn->in", np.linalg.pinv(J.transpose(2, 0, 1)), error)
        x[plant.positions] += np.clip(change, -0.3, 0.3)
    missed = np.flatnonzero(np.linalg.norm(error, axis=0) > 1e-9)
    if missed.size:
        point = ", ".join(f"{v:.3f}" for v in hand[:, missed[0]])
        raise TaskError(
            f"{missed.size} of {hand.shape[1]} targets are out of reach of plant {plant.name}, the first at "
            f"({point}) m: make the task's radius smaller"
        )
    return x[plant.positions]


def _around(trials, split):
    """Places on the unit interval, evenly spread; the held-out ones lie between the trained ones."""
    return (np.arange(trials) + (0.5 if split == "held_out" else 0.0)) / trials


def _at_start(task, trials):
    """The task's start posture at rest in every trial (n, N)."""
    x0 = np.zeros((task.plant.n_body, trials))
    x0[task.plant.positions] = np.asarray(task.numbers["start"], dtype=float)[:, None]
    return x0


def reach(task, params):
    """Centre-out: N targets evenly on a circle around the start hand."""
    plant, kernels, numbers = task.plant, task.kernels, task.numbers
    if plant.hand is None:
        raise TaskError(
            f"task {task.name}: its generator needs a hand, and plant {plant.name} has no hand_x and "
            "hand_y among its OUTPUT names; use the generator angles or a draw function"
        )

    def draw(rng, trials, split):
        x0 = _at_start(task, trials)
        angle = 2 * np.pi * _around(trials, split)
        centre = kernels.output(task.with_actuator_states(x0)[None], params)[
            0, plant.hand
        ]
        hand = centre + numbers["radius"] * np.array([np.cos(angle), np.sin(angle)])
        goal = np.zeros_like(x0)
        goal[plant.positions] = posture(plant, kernels, hand, numbers["start"], params)
        return x0, goal

    return draw


def angles(task, params):
    """Go to N positions spread evenly over a span per position state."""

    def draw(rng, trials, split):
        x0 = _at_start(task, trials)
        goal = np.zeros_like(x0)
        low, high = (
            np.reshape(np.asarray(edge, dtype=float), (-1, 1))
            for edge in task.numbers["targets"]
        )
        goal[task.plant.positions] = low + (high - low) * _around(trials, split)
        return x0, goal

    return draw


def _and_back(there):
    """The generator that goes where another one goes, until half of the horizon, and comes back to the start."""

    def generator(task, params):
        draw_there = there(task, params)

        def draw(rng, trials, split):
            x0, goal = draw_there(rng, trials, split)
            goal = np.tile(goal, (task.steps + 1, 1, 1))
            goal[task.steps // 2 + 1 :] = x0
            return x0, goal

        return draw

    return generator


def _anywhere(task, rng, trials):
    """Positions (n, N) drawn evenly from the task's range (low, high) of each."""
    low, high = np.array(task.numbers["range"], dtype=float).T[:, :, None]
    return rng.uniform(low, high, (len(task.plant.positions), trials))


def anywhere(task, params):
    """From any posture to any other, both drawn evenly from a range (low, high) of each position.

    In training every second movement is but a part of one, which is drawn evenly too: of postures drawn evenly hardly two are near
    each other, and who never saw a short movement is off by centimetres where there is next to nothing to do.
    """

    def draw(rng, trials, split):
        x0, goal = np.zeros((2, task.plant.n_body, trials))
        for x in (x0, goal):
            x[task.plant.positions] = _anywhere(task, rng, trials)
        if split == "training":
            goal[:, ::2] = (
                x0[:, ::2] + rng.random(goal[:, ::2].shape[1]) * (goal - x0)[:, ::2]
            )
        return x0, goal

    return draw


def stay(task, params):
    """Stay at a posture drawn evenly from a range (low, high) of each position; the task pushes."""

    def draw(rng, trials, split):
        x0 = np.zeros((task.plant.n_body, trials))
        x0[task.plant.positions] = _anywhere(task, rng, trials)
        return x0, x0

    return draw


def _strokes(task, rng, trials):
    """Paths (T+1, n, N) of the positions: minimum-jerk strokes between postures of the range, one after the other.

    q = q0 + (q1 - q0)(10 s^3 - 15 s^4 + 6 s^5), s from 0 to 1 (Flash & Hogan 1985, eq. 4).
    """
    time = task.plant.dt * np.arange(task.steps + 1) / STROKE_SECONDS
    stroke = np.minimum(time.astype(int), int(time[-1]))
    s = (time - stroke)[:, None, None]
    postures = np.array([_anywhere(task, rng, trials) for _ in range(stroke[-1] + 2)])
    return postures[stroke] + (postures[stroke + 1] - postures[stroke]) * (
        10 * s**3 - 15 * s**4 + 6 * s**5
    )


def _eights(task, rng, trials):
    """Paths (T+1, n, N) of the positions: a figure eight once through, of any phase and direction, about the middle of
    the range, as wide and high as half of it (first position) and a quarter (the others)."""
    low, high = np.array(task.numbers["range"], dtype=float).T[:, :, None]
    phase = rng.uniform(0, 2 * np.pi, trials)
    turn = (
        2
        * np.pi
        * np.linspace(0, 1, task.steps + 1)[:, None]
        * rng.choice([-1.0, 1.0], trials)
        + phase
    )
    wave = np.stack([np.sin(turn)] + [0.5 * np.sin(2 * turn)] * (len(low) - 1), axis=1)
    return (low + high) / 2 + (high - low) / 4 * wave


def follow(task, params):
    """Follow a moving posture: figure eights in the even trials, minimum-jerk strokes in the odd ones, from rest beside it."""
    plant = task.plant

    def draw(rng, trials, split):
        path = _strokes(task, rng, trials)
        path[:, :, ::2] = _eights(task, rng, trials)[:, :, ::2]
        goal = np.zeros((task.steps + 1, plant.n_body, trials))
        goal[:, plant.positions] = path
        rates = np.setdiff1d(np.arange(plant.n_body), plant.positions)
        if len(rates) == len(plant.positions):
            goal[:, rates] = np.gradient(path, plant.dt, axis=0)
        x0 = np.zeros((plant.n_body, trials))
        x0[plant.positions] = path[0]
        return x0, goal

    return draw


def _even(rng, dimensions, count):
    """Points (dimensions, count) that fill the unit cube evenly: a Kronecker sequence, shifted at random.

    Point k is the fraction of s + k (1/g, 1/g^2, ...), g the positive root of g^(d+1) = g + 1, the golden ratio for d = 1.
    """
    g = 2.0
    for _ in range(60):
        g = (1 + g) ** (1 / (dimensions + 1))
    return (
        rng.random((dimensions, 1))
        + np.arange(count) * g ** -np.arange(1.0, dimensions + 1)[:, None]
    ) % 1


def around(task, params):
    """From states within a spread (n,) of a start (n,), to one target (n,); all of the plant's own states.

    In training they fill the spread evenly, to its corners, where few states drawn at random would leave gaps.
    """

    def draw(rng, trials, split):
        start, spread, target = (
            np.asarray(task.numbers[name], dtype=float)[:, None]
            for name in ("start", "spread", "target")
        )
        x0, spreading = np.repeat(start, trials, axis=1), spread[:, 0] > 0
        shape = (int(spreading.sum()), trials)
        part = _even(rng, *shape) if split == "training" else rng.random(shape)
        x0[spreading] += spread[spreading] * (2 * part - 1)
        return x0, np.tile(target, trials)

    return draw


GENERATORS = {
    "reach": reach,
    "angles": angles,
    "reach_and_back": _and_back(reach),
    "angles_and_back": _and_back(angles),
    "anywhere": anywhere,
    "stay": stay,
    "follow": follow,
    "around": around,
}
ENOUGH = {
    "reach": 16,
    "reach_and_back": 16,
}  # trials evenly on a circle, whose mean curvature is that of any larger number
RANDOM = {
    "anywhere",
    "stay",
    "follow",
    "around",
}  # that draw from the generator of random numbers
