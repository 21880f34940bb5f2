"""Model files: fitted models in one file each, without pickle."""

from kernchem.model_files.files import load, read_info, save
from kernchem.model_files.info import ModelInfo

__all__ = ["ModelInfo", "load", "read_info", "save"]
