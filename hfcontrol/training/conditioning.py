"""Conditioning: a problem expressed in its typical sizes, for the optimizer.

Difference steps and trust radii follow the typical sizes of states and controls. The
network's weights are those of a network whose inputs and outputs have size one
(network/scaling.py), and the plant's integrator takes as many substeps as its fast
modes need. A problem without conditioning is trained as its file describes it.
"""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import PlantError
from hfcontrol.network.input_scaling import Typical
from hfcontrol.network.network import Network
from hfcontrol.network.scaling import Scaling
from hfcontrol.plant.contract import Plant
from hfcontrol.training.diagnosis import Sizes

# Sizes within this factor of those that a network is made for are left alone.
ORDINARY = 10.0


@dataclass(frozen=True, eq=False)
class Conditioning:
    """How a problem is conditioned; the defaults leave it as it is.

    * `substeps`: steps of the integrator per control step; None keeps the plant's
    * `state_size` (nx,), `control_size` (nu,): typical sizes; None keeps the plant's
    * `inputs`, `outputs`: those of the network's signals; None trains it unscaled
    * `linear_path`: whether the network's output reads its input too
    """

    substeps: int | None = None
    state_size: Array | None = None
    control_size: Array | None = None
    inputs: Typical | None = None
    outputs: Typical | None = None
    linear_path: bool = False

    @property
    def is_scaled(self) -> bool:
        """Whether the network is trained in typical sizes."""
        return self.inputs is not None and self.outputs is not None

    def with_sizes(self, sizes: Sizes, linear_path: bool = False) -> "Conditioning":
        """Return the same with typical sizes, and perhaps a linear path."""
        return replace(
            self,
            state_size=sizes.states.size,
            control_size=sizes.controls.size,
            inputs=sizes.inputs,
            outputs=sizes.commands,
            linear_path=linear_path,
        )

    def plant(self, plant: Plant) -> Plant:
        """Return the plant with these substeps and typical sizes.

        Raises PlantError if they are those of a plant with other states or controls.
        """
        sizes = {
            "states": (self.state_size, plant.nx),
            "controls": (self.control_size, plant.nu),
        }
        for name, (array, count) in sizes.items():
            if array is not None and array.size != count:
                raise PlantError(
                    f"{plant.path}: it has {count} {name}, but the run was trained on "
                    f"{array.size}; restore the plant, or train again"
                )

        changes = {
            "substeps": self.substeps,
            "typical_state": self.state_size,
            "typical_control": self.control_size,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        # mypy cannot know the types of fields that are chosen by name
        return replace(plant, **given) if given else plant  # type: ignore[arg-type]

    def scale(self, network: Network) -> None:
        """Let a network be trained in typical sizes.

        Raises PlantError if they are those of a network with other inputs or outputs.
        """
        if self.inputs is None or self.outputs is None:
            return
        made_for = (self.inputs.size.size, self.outputs.size.size)
        if made_for != (network.n_input, network.n_output):
            raise PlantError(
                f"the network has {network.n_input} inputs and {network.n_output} "
                f"outputs, but the run was trained on {made_for[0]} and {made_for[1]}; "
                "restore the plant, or train again"
            )
        # the initial output is drawn in typical sizes too
        network.rest = (network.rest - self.outputs.mean) / self.outputs.size
        network.weight_map = Scaling(
            network, self.inputs, self.outputs, network.weight_map
        )


PLAIN = Conditioning()


def is_ordinary(sizes: Sizes, output_sizes: Array) -> bool:
    """Whether a network's inputs and commands have the sizes that it is made for.

    That is one for inputs, and `output_sizes` (nu,) for commands. Scaling such a
    problem was measured to slow down the last steps towards the optimum of the arms.
    """
    made_for = np.ones_like(sizes.inputs.size)
    return _are_near(sizes.inputs, made_for) and _are_near(sizes.commands, output_sizes)


def _are_near(signals: Typical, sizes: Array) -> bool:
    """Whether typical values and sizes (n,) are within a factor of some sizes (n,)."""
    reach = np.hypot(signals.mean, signals.size)
    is_large = reach > ORDINARY * sizes
    is_small = signals.size < sizes / ORDINARY
    return not (is_large | is_small).any()
