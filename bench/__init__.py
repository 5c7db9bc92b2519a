"""What measures the speed of pdt, against the tools that somebody would take instead: `python -m bench --help`.

Every figure is taken from a command that does the whole of some work, in a process of its own, while its rivals take
turns with it on the same files. See `__main__` for how it goes, `rows/` for what is measured.
"""
