"""Checks of chapter 10: one function for each exercise, called as `ch10.q1(your_function)`."""

from medadv.course.checks._ch10_certify import q4, q5, q6, q7
from medadv.course.checks._ch10_tune import q1, q2, q3

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7"]
