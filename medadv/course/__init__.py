"""The course: figures, sliders, widgets, claims, and the checks of the exercises."""
