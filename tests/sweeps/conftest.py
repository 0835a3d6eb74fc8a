"""What needs a package that no extra of the tests installs is collected where it is there."""

from importlib.util import find_spec

collect_ignore = [
    file
    for file, package in (("test_dask.py", "distributed"), ("test_frame.py", "pandas"))
    if find_spec(package) is None
]
