"""The command reference, made from the command tree: ``python -m governance.cli.reference > docs/cli.md``."""

from collections.abc import Iterator

import click

from governance.cli.main import governance

_WIDTH = 100


def reference() -> str:
    """Markdown with the help page of every command."""
    pages = "\n".join(_pages(governance, None, "governance"))
    return (
        "# Command reference\n\nMade from the program itself by "
        "`python -m governance.cli.reference > docs/cli.md`; a test compares the two.\n\n" + pages
    )


def _pages(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None:
                yield from _pages(child, context, child_name)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
