"""Typed errors: each message says what was given, what was expected and what to do.

Every error derives from :class:`KernchemError` and from the built-in class that a caller of
scikit-learn would expect (``ValueError`` for all but :class:`MissingProgramError`).
"""

__all__ = [
    "CompositionError",
    "DatasetError",
    "FileFormatError",
    "KernchemError",
    "KernchemWarning",
    "LabelError",
    "LayoutError",
    "MissingProgramError",
    "ModelFileError",
    "OracleError",
    "PropertyError",
    "ResumeError",
    "SettingError",
    "SingularKernelError",
    "StructureError",
    "UnknownElementError",
]


class KernchemError(Exception):
    """Base of every error that kernchem raises on purpose."""


class StructureError(KernchemError, ValueError):
    """A molecule cannot be used: bad coordinates, no atoms, arrays that do not fit."""


class UnknownElementError(StructureError):
    """A molecule holds an element that does not exist or that was absent in ``fit``."""


class LayoutError(StructureError):
    """A molecule does not fit the fixed feature layout that a descriptor learnt in ``fit``."""


class CompositionError(StructureError):
    """A molecule lies outside the compositions from which a baseline was fitted."""


class PropertyError(KernchemError, ValueError):
    """A stored property is missing or has the wrong length."""


class LabelError(KernchemError, ValueError):
    """A label is NaN or infinite, or there are more or fewer labels than molecules."""


class SettingError(KernchemError, ValueError):
    """An argument of an estimator, a function or a command has a value it cannot have."""


class FileFormatError(KernchemError, ValueError):
    """A file is unreadable, cut short or not of the format it claims to be."""


class ModelFileError(KernchemError, ValueError):
    """A model cannot be saved, or a file holds no model that can be loaded."""


class DatasetError(KernchemError, ValueError):
    """A dataset of that name does not exist or cannot be loaded."""


class ResumeError(KernchemError, ValueError):
    """An output folder holds an earlier run with other settings."""


class OracleError(KernchemError, ValueError):
    """What gives the labels of a campaign fails again and again."""


class MissingProgramError(KernchemError, ImportError):
    """A program that a baseline runs is not installed."""


class SingularKernelError(KernchemError, ValueError):
    """A kernel matrix cannot be factorised, not even with the largest jitter allowed."""


class KernchemWarning(UserWarning):
    """Base of every warning of kernchem: the result stands, but read the message."""
