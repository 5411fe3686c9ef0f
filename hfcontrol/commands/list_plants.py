"""`hfcontrol plants` and `hfcontrol check`: which plants there are, and whether one keeps the contract."""

import click

from hfcontrol.commands.options import working
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
        click.echo(f"{name:14} states: {plant.nx}, controls: {plant.nu}, step: {1000 * plant.dt:g} ms, tasks: "
                   f"{', '.join(plant.tasks) or 'none'}")
        click.echo(f"{'':14} {(ast.get_docstring(ast.parse(plant.source)) or '').partition(chr(10))[0]}")


@click.command()
@click.argument("name", metavar="NAME|FILE")
def check(name):
    """Check a plant file against the contract.

    Shapes, finite numbers, determinism, derivatives, tasks: what is wrong is told in words, a line for each check.

    \b
    hfcontrol check plants/mine.py
    """
    from hfcontrol.check import check_plant
    from hfcontrol.plant import load_plant

    plant = load_plant(name)
    with working("checking"):
        findings = check_plant(plant)
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.name}: {finding.message}")
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise PlantError(f"{plant.path.name}: {wrong} of {len(findings)} checks failed; the lines above say what to mend")
    click.echo(f"{plant.name} is fine: hfcontrol train --plant {name}")
