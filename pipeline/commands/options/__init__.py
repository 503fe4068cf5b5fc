"""What the commands of the command line can be told, one module for commands of one kind."""
