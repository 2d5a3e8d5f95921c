"""Pure decisions: no clock, randomness, environment, files or network; times, names and seeds come in as arguments."""
