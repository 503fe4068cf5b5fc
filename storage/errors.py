"""Errors that a person can mend: raised before work starts, shown by the command line without a traceback (exit 2)."""


class UsageError(ValueError):
    """What the user gave can't be used. The message names the thing, what was expected and what to do."""


class ConfigError(UsageError):
    """A configuration file has an unknown key, a wrong type or a missing value."""


class WeightsError(UsageError):
    """Weights that can't be fetched, read, or that don't belong to the detector."""
