"""What a step or a command does, where it takes more than one door: load, check, train, judge, register, record."""
