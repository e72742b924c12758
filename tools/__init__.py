"""What only developers run: the generator of the sample, and the data dictionary."""
