"""Commands about what is kept on the host: the image, and what dead runs left behind."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.terminal_io import Json, app, image_app, print_json, say

Packages = Annotated[
    list[str] | None,
    typer.Option("--package", help="With this package added; may be repeated."),
]


@image_app.command()
def build(
    package: Packages = None,
    refresh: Annotated[
        bool, typer.Option(help="Build anew with the archive's newest packages.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the image unless it is there already."""
    from harness import paths
    from harness.image.build import build as build_image
    from harness.scenario import checked_packages

    image = build_image(paths.cache(), checked_packages(package), refresh=refresh, progress=say)
    print_json({"digest": image.digest, "path": str(image.directory)}) if as_json else typer.echo(
        image.digest
    )


@image_app.command()
def show(package: Packages = None, as_json: Json = False) -> None:
    """Digest, packages, excluded paths and derived forms of the image."""
    from harness.imagecheck import describe, require
    from harness.scenario import checked_packages

    found = describe(require(checked_packages(package)))
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if isinstance(value, dict):
            value = [f"{name} {version}" for name, version in value.items()]
        text = "\n  ".join(["", *map(str, value)]) if isinstance(value, list) else str(value)
        typer.echo(f"{key}: {text}")


@image_app.command()
def verify(
    runtime: Annotated[
        list[str] | None, typer.Option(help="Only this runtime; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Derive the digest again from inside an instance of each runtime."""
    from harness.imagecheck import verify_everywhere

    rows = verify_everywhere(runtime or [], say)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            typer.echo(f"{row.runtime}\t{row.digest or '–'}\t{row.text}")
    if any(row.identical is False for row in rows):
        raise typer.Exit(1)


@image_app.command()
def prune(
    everything: Annotated[
        bool, typer.Option("--all", help="The current image too, and the disks of the lab.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove images and forms that no recipe of today needs."""
    from harness import paths
    from harness.image.store import prune as prune_images
    from harness.lab.build import prune as prune_labs

    removed = prune_images(paths.cache(), keep_current=not everything)
    removed += prune_labs(paths.cache()) if everything else []
    if as_json:
        print_json([str(path) for path in removed])
    else:
        for path in removed:
            typer.echo(path)


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what dead runs left behind, by inventory and label, and nothing else."""
    from harness import inventory

    with inventory.dead_inventories() as files:
        rows = [(file, entry) for file in files for entry in inventory.left_over(file)]
        if as_json:
            print_json([{"kind": entry.kind, "name": entry.name} for _, entry in rows])
        else:
            for _, entry in rows:
                typer.echo(f"{entry.kind}\t{entry.name}")
        if dry_run:
            return
        failed = [pair for file in files for pair in inventory.clean(file)]
    for entry, why in failed:
        say(f"{entry.kind} {entry.name} stays: {why}")
    if failed:
        raise typer.Exit(1)
