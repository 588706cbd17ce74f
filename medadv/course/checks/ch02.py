"""Checks of chapter 2: one function for each exercise, called as `ch02.q1(your_function)`."""

from medadv.course.checks._ch02_attack import q1, q2, q3
from medadv.course.checks._ch02_count import q4, q5, q6

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6"]
