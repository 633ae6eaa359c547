"""`python -m kinpose` is the command `kinpose`."""


def run():
    """Entry point of the command.

    Raises:
      SystemExit: always.
    """
    try:
        from kinpose.apps.main import main
    except ModuleNotFoundError as error:
        raise SystemExit(f"error: {error}") from None
    main()


if __name__ == "__main__":
    run()
