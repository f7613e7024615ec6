"""What is raised by everything that asks others, when they cannot be asked."""

__all__ = ["Unavailable"]


class Unavailable(Exception):
    """It cannot be said: the backend is down, late, or answers what makes no sense. Its text is for the log."""
