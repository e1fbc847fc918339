"""`shardlift`, also `python -m shardlift`: every command under one name."""

from runtime import cli

app = cli.new_app("DVID exports to Neuroglancer volumes.")


@app.callback()
def shardlift() -> None:
    """DVID exports to Neuroglancer volumes."""


def main() -> None:
    """Run the command line of this process."""
    cli.run(app, log_level="warning")


if __name__ == "__main__":
    main()
