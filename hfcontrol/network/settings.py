"""Settings of the network: layers, connections, cells and constraints."""

from typing import Annotated, Literal

from pydantic import Field

from hfcontrol.schema import Number, OnlyWith, SettingsModel, Whole, Words, setting

CellName = Literal[
    "tanh",
    "linear",
    "ctrnn",
    "ctrnn_rates",
    "ltc",
    "ltc_tanh",
    "ltc_signed",
    "ltc_conductance",
    "rnn_ode",
    "input_flow",
    "neural_ode",
    "cfc",
    "gru",
    "lstm",
]
SchemeName = Literal["fused", "euler", "rk4"]
Units = Annotated[Whole, Field(ge=1)]
SkipWord = Literal["auto", "all", "none"]
RecurrentWord = Literal["all", "none"]

# Cells whose state decays with time constants.
LEAKY_CELLS = (
    "ctrnn",
    "ctrnn_rates",
    "ltc",
    "ltc_tanh",
    "ltc_signed",
    "ltc_conductance",
)
# Cells that solve a differential equation: these, and those that only integrate. cfc
# has a closed form instead.
CONTINUOUS_CELLS = (*LEAKY_CELLS, "rnn_ode", "input_flow", "neural_ode")
IN_CONTINUOUS_TIME = OnlyWith(
    "cell",
    CONTINUOUS_CELLS,
    f"applies only to cells in continuous time, {', '.join(CONTINUOUS_CELLS)}; leave "
    "it out",
)
WITH_TIME_CONSTANTS = OnlyWith(
    "cell",
    LEAKY_CELLS,
    f"applies only to cells with time constants, {', '.join(LEAKY_CELLS)}; leave it "
    "out",
)


class NetworkSettings(SettingsModel):
    """Architecture, initial time constants and constraints on the weights."""

    hidden: tuple[Units, ...] = setting(
        (32, 32),
        "Units of each hidden layer.",
        "N,N",
        syntax="layers",
        allowed="the number of units of each layer, at least 1, such as 32,32",
    )
    skip: tuple[Whole, ...] | SkipWord = setting(
        "auto",
        "Hidden layers that also receive the input: 2,3 or all or none.",
        "[LAYERS]",
        syntax="layers",
        allowed="layer numbers such as 2,3, or all or none",
    )
    recurrent: tuple[Whole, ...] | RecurrentWord = setting(
        "all",
        "Hidden layers with recurrent connections: 1,2 or all or none.",
        "[LAYERS]",
        syntax="layers",
        allowed="layer numbers such as 1,2, or all or none",
    )
    cell: CellName = setting(
        "tanh",
        "Cell of the hidden units: tanh or linear; in continuous time ctrnn, "
        "ctrnn_rates, ltc, ltc_tanh, ltc_signed, ltc_conductance, rnn_ode, input_flow "
        "or neural_ode; cfc, a closed form; gru; lstm.",
        "WORD",
    )
    scheme: SchemeName = setting(
        "fused",
        "Solver of time-continuous cells: fused, euler or rk4.",
        "WORD",
        only_with=(IN_CONTINUOUS_TIME,),
    )
    unfold: Whole = setting(
        1,
        "Solver steps of time-continuous cells per control step.",
        "N",
        only_with=(IN_CONTINUOUS_TIME,),
        ge=1,
    )
    time_constants: str | None = setting(
        None,
        "Initial time constants of time-continuous cells, such as 20ms..200ms; 1 to 20 "
        "control steps by default.",
        "A..B",
        only_with=(WITH_TIME_CONSTANTS,),
        allowed="two times such as 20ms..200ms",
    )
    learn_start: bool = setting(
        False, "Learn the initial hidden state, which is zero otherwise."
    )
    density: Number = setting(
        1.0,
        "Fraction of the connections between layers that exist.",
        "FRACTION",
        gt=0,
        le=1,
    )
    freeze: Words = setting(
        (),
        "Layers that keep their initial weights: 1,2 or out.",
        "LAYERS",
        syntax="words",
        allowed="names of layers such as 1,2 or out",
    )
    dale: Number | None = setting(
        None,
        "Dale's law: fraction of the hidden units that excite, while the others "
        "inhibit. All outgoing weights of a unit have one sign.",
        "FRACTION",
        ge=0,
        le=1,
    )
