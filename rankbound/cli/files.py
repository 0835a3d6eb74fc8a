"""Arrays from files: never unpickled, and one clear message where a file is no array."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.errors import InputError

__all__ = ["load_array"]


def load_array(path: Path) -> npt.NDArray[Any]:
    """Read one array from a ``.npy`` file.

    Raises
    ------
    InputError
        If the file does not exist, is not in NumPy's .npy format, or holds Python objects, which
        would have to be unpickled.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; expected an array written by numpy.save.")
    if path.is_dir():
        raise InputError(f"{path}: a directory; expected an array written by numpy.save.")
    content = path.read_bytes()
    if content[:6] != b"\x93NUMPY":
        kind = "an .npz archive or another zip" if content[:2] == b"PK" else "no .npy file"
        raise InputError(f"{path}: {kind}; expected one array written by numpy.save.")
    try:
        array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy evaluates the header: a hostile one raises anything
        if "Object arrays" in str(error):
            raise InputError(
                f"{path}: holds Python objects, which are never unpickled here; "
                "expected numbers. Save it again with .astype(float)."
            ) from None
        raise InputError(
            f"{path}: a damaged .npy file ({type(error).__name__}); "
            "expected one array written by numpy.save."
        ) from None
    return array
