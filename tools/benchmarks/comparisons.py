"""The comparisons of the sources (`hfcontrol compare`), and of each the few numbers that say how it ended."""

from benchmarks.report import show, table
from hfcontrol.studies import study

SAMPLES = 8  # at which gradients are judged


def measure(seeds):
    """Rows of the gradients' prices and of the orders' ratios."""
    rows = gradients(last(study("gradients", samples=SAMPLES)))
    for plant in ("diffdrive", "quadrotor"):
        rows += orders(last(study("orders", plant=plant, seeds=len(seeds))))
    return rows


def last(results):
    """The whole of a study."""
    *_, result = results
    return result


def gradients(result):
    """A row for each plant and estimator: the median price of a gradient with the error asked for."""
    rows = [
        {
            "study": "gradients",
            "plant": plant,
            "estimator": name,
            "error": result["error"],
            "samples": result["samples"],
            "evaluations": found["evaluations"][name],
            "seconds": found["seconds"][name],
        }
        for plant, found in result["plants"].items()
        for name in found["evaluations"]
    ]
    table(
        f"a gradient with an error of {result['error']:g}",
        ("plant", "estimator", "evaluations", "ms"),
        [
            (
                r["plant"],
                r["estimator"],
                *(
                    price(r[key], scale)
                    for key, scale in (("evaluations", 1), ("seconds", 1e3))
                ),
            )
            for r in rows
        ],
    )
    return rows


def price(found, scale=1):
    """A price as text, marked where the line had to be drawn on beyond what was tried."""
    return (
        "-"
        if found is None
        else ("about " if found["beyond"] else "") + show(scale * found["price"])
    )


def orders(result):
    """A row for each seed, beginning and number of first-order updates: the best rate's cost, and what it and Hessian-free took to it."""
    rows = [
        {
            "study": "orders",
            "plant": result["plant"],
            "rates": result["rates"],
            "kind": result["kind"],
            **c,
        }
        for c in result["compared"]
    ]
    table(
        f"{result['plant']}: to the lowest cost of the best rate of {result['rates']}",
        (
            "seed",
            "updates",
            "best",
            "cost",
            "its evaluations",
            "Hessian-free's",
            "ratio",
            "without products",
            "seconds",
            "Hessian-free's",
        ),
        [
            (
                r["seed"],
                r["after"],
                r["best"],
                show(r["cost"], 4),
                show(r["first_order"]["evaluations"]),
                show(r["hf"] and r["hf"]["evaluations"]),
                show(r["ratio"]),
                show(r["hf"] and r["hf"]["without products"]),
                show(r["first_order"]["seconds"]),
                show(r["hf"] and r["hf"]["seconds"]),
            )
            for r in rows
        ],
    )
    return rows
