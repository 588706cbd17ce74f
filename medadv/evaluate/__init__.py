"""Evaluation: metrics with intervals, and reports that carry how they were made."""
