"""Chapter 2: attacks on images."""
