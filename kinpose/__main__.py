"""`python -m kinpose` is the command `kinpose`."""

import sys


def run():
    """Entry point of the command.

    Raises:
      SystemExit: always.
    """
    try:
        from kinpose.apps.main import main
    except KeyboardInterrupt:
        print("ended by SIGINT", file=sys.stderr)
        raise SystemExit(130) from None
    except ModuleNotFoundError as error:
        raise SystemExit(f"error: {error}") from None
    main()


if __name__ == "__main__":
    run()
