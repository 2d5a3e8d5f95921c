"""Pure decisions: no clock, randomness, environment, files or network inside; times, names and seeds come in as arguments."""
