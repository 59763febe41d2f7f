"""``python -m dse``: the command line without its installed script."""

from dse.studies.cli import main

if __name__ == "__main__":
    main()
