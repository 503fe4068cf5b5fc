"""What a job is: command line, settings, the whole graph, and what is done with the results."""
