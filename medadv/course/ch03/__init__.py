"""Chapter 3: attacks on words and on image-text pairs."""
