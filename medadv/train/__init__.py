"""Training: one loop (`loop.fit`), and steps that say what is learnt."""
