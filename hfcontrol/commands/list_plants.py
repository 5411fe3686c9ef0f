"""`hfcontrol plants` and `hfcontrol check`: which plants there are, and whether one keeps the contract."""

import click

from hfcontrol.errors import PlantError


@click.command()
def plants():
    """List the shipped plants and their tasks.

    \b
    hfcontrol plants
    """
    import ast

    from hfcontrol.plant import load_plant, plant_names

    for name in plant_names():
        plant = load_plant(name)
        click.echo(f"{name:14} {plant.nx} states, {plant.nu} controls, {1000 * plant.dt:g} ms; tasks: "
                   f"{', '.join(plant.tasks) or 'none'}")
        click.echo(f"{'':14} {(ast.get_docstring(ast.parse(plant.source)) or '').partition(chr(10))[0]}")


@click.command()
@click.argument("plant", metavar="NAME|FILE")
def check(plant):
    """Check a plant file against the contract: shapes, finite numbers, determinism, derivatives, tasks.

    \b
    hfcontrol check plants/mine.py
    """
    from hfcontrol.check import check_plant
    from hfcontrol.plant import load_plant

    plant = load_plant(plant)
    findings = check_plant(plant)
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.name}: {finding.message}")
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise PlantError(f"{plant.path.name}: {wrong} of {len(findings)} checks failed; the lines above say what to mend")
    click.echo(f"{plant.name} is fine: hfcontrol train --plant {plant.path if plant.path.suffix == '.py' else plant.name}")
