"""The one family of errors; each message says what is wrong with which input and what to do."""


class CMEDLError(Exception):
    """Base of all errors with a sentence for the user; ``exit_code`` is what a command line ends with."""

    exit_code = 1


class InputError(CMEDLError):
    """The input or an argument is bad: the user can mend it."""

    exit_code = 2


class ModelError(InputError):
    """A model file is missing, damaged, altered, or of a version this program does not know."""


class DeviceError(InputError):
    """The asked-for device is absent or cannot do the work."""


class Cancelled(CMEDLError):
    """The user cancelled; nothing was written under a final name."""

    exit_code = 3
