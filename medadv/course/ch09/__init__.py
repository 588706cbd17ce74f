"""Chapter 9: randomized smoothing."""
