"""The criterion of success of a task in words."""

from hfcontrol.tasks.task import DEFAULT_SUCCESS, Task

# What a limit is about, by its name in a task's `success`.
SUBJECTS = {"hand": "hand error", "rates": "rates", "state": "state error"}


def describe_success(task: Task) -> str:
    """Return when a trial of a task counts as a success."""
    limits = task.numbers.get("success", {})
    if callable(limits):
        return f"by `{limits.__name__}` of the plant file"
    if not limits:
        return f"final state error below {DEFAULT_SUCCESS:g} typical sizes"
    words = []
    for name, limit in limits.items():
        text = f"{limit:g}"
        if name == "hand":
            text = f"{100 * limit:g} cm" if limit < 1 else f"{limit:g} m"
        words.append(f"{SUBJECTS[name]} below {text}")
    return "final " + " and ".join(words)
