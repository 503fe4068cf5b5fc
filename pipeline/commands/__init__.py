"""The commands, one module each: `add_parser` adds options and help, `run` does it and returns the exit code.

What they import before `run` is light, so that help and mistakes are answered at once.
"""
