"""Checks of chapter 3: one function for each exercise, called as `ch03.q1(your_function)`."""

from medadv.course.checks._ch03_change import q1, q2, q3
from medadv.course.checks._ch03_count import q4, q5, q6

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6"]
