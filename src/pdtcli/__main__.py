"""`python -m pdtcli` is `pdt`."""

from .cli.app import entry

__all__ = ()

if __name__ == "__main__":
    entry()
