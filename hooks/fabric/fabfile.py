"""An example: `fab deploy` uploads a commit, runs the plan `deploy`, and switches the link."""

from cachekit_hook import run_plan
from fabric import SerialGroup, task
from invoke import run

NODES = ("web1", "web2")
WHERE = "/srv/shop"


@task
def deploy(c, commit="HEAD"):
    """Deploy a commit of the repository in this folder."""
    # Not c.run: Fabric would take the variables of this machine from the command.
    release = run(f"git rev-parse --verify '{commit}^{{commit}}'", hide=True).stdout.strip()
    folder = f"{WHERE}/releases/{release}"
    nodes = SerialGroup(*NODES, config=c.config)
    live = nodes[0].run(f"cat {WHERE}/current/REVISION 2>/dev/null || true", hide=True)

    run(f"git archive --format=tar.gz --output=release.tar.gz {release}")
    for node in nodes:
        node.run(f"mkdir -p {folder}")
        node.put("release.tar.gz", f"{folder}/")
        node.run(f"cd {folder} && tar -xzf release.tar.gz && rm release.tar.gz")
        node.run(f"echo {release} >{folder}/REVISION")

    run_plan("deploy", release=release, previous=live.stdout.strip(), nodes=NODES)

    for node in nodes:
        node.run(f"ln -sfn {folder} {WHERE}/next && mv -T {WHERE}/next {WHERE}/current")
