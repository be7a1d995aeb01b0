"""`python -m conical`: the same as `conical`."""

from conical.cli.main import run

if __name__ == "__main__":
    run()
