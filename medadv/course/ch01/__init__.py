"""Chapter 1: what a medical vision-language model is and how to measure it."""
