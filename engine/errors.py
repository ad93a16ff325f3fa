"""The kinds of error. Every message names the thing, its value and the remedy, on one line."""


class SparError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(SparError):
    """A configuration file, preset or setting that cannot be used."""


class CheckpointError(SparError):
    """A checkpoint that is missing, damaged, or does not hold the model its configuration describes."""


class InputError(SparError, ValueError):
    """A prompt, picture, number or option of a request that cannot be used."""


class ArtefactError(SparError):
    """An exported graph, plan or cache that is missing, stale, damaged or foreign."""


class BackendError(SparError):
    """A backend that is unknown, not installed, or cannot run on this machine."""


class MissingDependency(BackendError, ImportError):
    """An optional package that the call needs is not installed."""


class Cancelled(SparError):
    """The caller asked for the request to stop; nothing was produced."""


class DeadlineExceeded(SparError, TimeoutError):
    """A request was not done by its deadline; nothing was produced."""


class OverBudget(SparError):
    """A request that needs more memory than the engine may use; nothing was begun."""


class Busy(SparError):
    """As many requests run and wait as the engine admits; the same request may succeed later."""
