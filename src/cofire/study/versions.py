"""Which versions made a result."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str | None:
    """The installed version of a package, None if it is not installed.

    Example:
        >>> version_of("no-such-package") is None
        True
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """The versions that a result depends on, to be noted beside it."""
    return {name: version_of(name) or "unknown" for name in ("cofire", "torch", "numpy")}
