"""Checks of chapter 1: one function for each exercise, called as `ch01.q1(your_function)`."""

from medadv.course.checks._ch01_learn import q1, q2, q3
from medadv.course.checks._ch01_measure import q4, q5, q6

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6"]
