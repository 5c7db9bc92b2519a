"""The command line: everything that imports typer or rich lives here, and nothing below imports it.

A command is three calls: load the pipeline, ask the facade, render the answer. Importing this package imports none of
its modules, because start-up is felt on every Tab key; `app.entry` is the way in.
"""

__all__ = ()
