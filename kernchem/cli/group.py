"""The command itself: its subcommands, its version, and how errors reach the terminal."""

from __future__ import annotations

import errno
from typing import IO, Any

import click

import kernchem
from kernchem.cli.baseline import baseline
from kernchem.cli.benchmark import benchmark
from kernchem.cli.datasets import datasets
from kernchem.cli.learn import learn
from kernchem.cli.predict import predict
from kernchem.cli.sample import sample
from kernchem.cli.train import train
from kernchem.errors import KernchemError

__all__ = ["main"]


class _Failure(click.ClickException):
    """What the user must know, in one line."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        text = " ".join(self.message.split())
        click.secho(f"kernchem: {text}", file=file, err=True, fg="red")


class _Commands(click.Group):
    """Subcommands whose expected errors, and interrupts, end in one line, not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KernchemError as error:
            raise _Failure(str(error)) from error
        except OSError as error:
            # A closed pipe is click's business.
            if error.errno == errno.EPIPE:
                raise
            where = "" if error.filename is None else f"{error.filename}: "
            raise _Failure(f"{where}{error.strerror or error}") from error
        except KeyboardInterrupt as interrupt:
            told = getattr(interrupt, "__notes__", ["Nothing half-written is left."])
            click.echo(" ".join(["Interrupted.", *told]), err=True)
            ctx.exit(130)


@click.group(
    cls=_Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(kernchem.__version__, prog_name="kernchem")
def main() -> None:
    """Kernel methods for chemistry."""


main.add_command(baseline)
main.add_command(benchmark)
main.add_command(datasets)
main.add_command(learn)
main.add_command(predict)
main.add_command(sample)
main.add_command(train)
