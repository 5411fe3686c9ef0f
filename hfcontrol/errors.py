"""The errors hfcontrol raises on purpose; the command line catches exactly their base class."""


class HFControlError(Exception):
    """A mistake or failure told in one line: what came, what is allowed, what to do next."""


class UsageError(HFControlError):
    """A wrong option or argument; the command line exits with status 2."""


class PlantError(HFControlError):
    """A plant that cannot be found, read, compiled or simulated."""


class TaskError(HFControlError):
    """A task the plant does not have, or numbers with which it cannot be done."""


class CheckpointError(HFControlError):
    """A checkpoint or run folder that cannot be read, written or trusted."""


class DeviceError(HFControlError):
    """A GPU that is not there, cannot be used or has too little memory."""


class TrainingError(HFControlError):
    """A training that cannot start or cannot go on."""
