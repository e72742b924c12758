"""Developer tools: the generator of the sample, and the data dictionary."""
