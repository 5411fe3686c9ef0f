"""The errors that hfcontrol raises on purpose.

A message is one line: what came, what is allowed, what to do next. It names settings in
backticks, as in `feedback_delay`; the command line turns them into options.
"""

import os

from hfcontrol.texts import one_line

PACKAGE = os.path.dirname(__file__)

# Where libraries are, whose functions may lie between a call and hfcontrol.
LIBRARY = f"{os.sep}site-packages{os.sep}"


class HFControlError(Exception):
    """Base class of all errors below; the command line catches exactly this class.

    Several faults of one input are several arguments, and each is one line. A message
    may quote a file of anyone: what is invisible in it, ends of lines too, is spelt
    out, so that a traceback is as safe for a terminal as the command line is.
    """

    def __str__(self) -> str:
        """Return the messages, a line for each."""
        return "\n".join(map(one_line, self.args))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the user's call of hfcontrol, and the messages.

        What happened inside hfcontrol is dozens of lines that help nobody to mend the
        call. `__traceback__` has them all.
        """
        # Imported here: only notebooks need it.
        import traceback

        frames = traceback.extract_tb(self.__traceback__)
        inside = [frame.filename.startswith(PACKAGE) for frame in frames]
        outside = frames[: inside.index(True)] if True in inside else frames
        calls = [frame for frame in outside if LIBRARY not in frame.filename]
        shown = "".join(traceback.format_list(calls[-1:])).splitlines()
        return [*shown, f"{type(self).__name__}: {self}"]


class UsageError(HFControlError):
    """A wrong setting or argument; the command line exits with status 2."""


class PlantError(HFControlError):
    """A plant that cannot be found, read, compiled or simulated."""


class TaskError(HFControlError):
    """A task that the plant does not have, or whose numbers do not fit the plant."""


class CheckpointError(HFControlError):
    """A checkpoint or run folder that cannot be read, written or trusted."""


class DeviceError(HFControlError):
    """A GPU that is missing, unusable or too small."""


class TrainingError(HFControlError):
    """A training that cannot start or continue."""


class DivergedError(TrainingError):
    """Weights whose loss is not finite: there is nothing to train from."""


class NumberError(HFControlError):
    """A number that is NaN or infinite: an observation, a reward, a weight."""


# What code of others may raise, such as a plant file or an environment: anything but
# Ctrl-C. A `sys.exit()` in it must not end a training without a word.
FOREIGN_FAULTS = (Exception, SystemExit, GeneratorExit)


class HFControlWarning(UserWarning):
    """What goes on, but not as asked; the command line prints it on a line."""
