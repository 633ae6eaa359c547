"""`python -m kinpose` is the command `kinpose`."""

from kinpose.apps.main import run

if __name__ == "__main__":
    run()
