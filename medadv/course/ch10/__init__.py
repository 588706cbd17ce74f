"""Chapter 10: PromptSmooth, and whether its certificate holds."""
