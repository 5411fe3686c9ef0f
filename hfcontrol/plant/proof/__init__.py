"""Proof that compiled functions of a plant stay inside their arrays.

Compiled code checks no index: one that is too large reads or writes memory that belongs
to something else. So each index is compared with the size of its array when a plant is
loaded, before anything runs or is compiled, in all branches. The functions are
interpreted with intervals in the place of integers (Cousot and Cousot, "Abstract
interpretation", POPL 1977). The rules are:

1.  An index is an integer constant, a loop variable, an entry of a constant tuple, or
    made of these by + - * // %, abs, min, max, int and len. Its interval must be within
    0 to size - 1, or all of it within -size to -1. Anything else, such as an index that
    depends on the state, is refused.
2.  A condition that compares such a variable with an integer narrows its interval:
    `x[i - 1] if i > 0 else 0.0` is proved.
3.  `for` loops over `range` of such integers, or over a tuple. Variables that a loop
    changes are unknown when a pass begins. `while` is refused.
4.  An array appears with an index, in `len`, in `a, b = x` of its size, or as an
    argument of a function of the file, which is proved for each kind of arguments that
    it is called with. A second name of an array is refused.
5.  Only the last argument is written (both last ones of `jacobian`), also in helpers.
6.  The passes of all loops and calls in a control step, substeps included, are at most
    MOST_PASSES.

`values.py` has the intervals, `conditions.py` rule 2, `expressions.py` rules 1 and 4,
`statements.py` rules 3, 5 and 6, and `plant_functions.py` the plant's functions.
"""

from hfcontrol.plant.proof.plant_functions import prove_plant
from hfcontrol.plant.proof.statements import MOST_PASSES

__all__ = ["MOST_PASSES", "prove_plant"]
