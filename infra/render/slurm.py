"""SLURM: a script that submits an array of workers per tier, and is what the array runs."""

import shlex
from typing import Final

from infra.render.workers import Workers
from memmodel.tiers import MIB, Tier
from runtime.interpreter import as_named

_SCRIPT: Final = """\
#!/bin/bash
# Workers of {url}: an array per tier, whose tasks end when no message came for {idle} s.
# On the login node: bash THIS_FILE [TIER ...]
# Time limit and partition: SBATCH_TIMELIMIT and SBATCH_PARTITION, or lines of your own here.
#SBATCH --job-name={prefix}
#SBATCH --output={prefix}-%A_%a.log
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
set -euo pipefail

{exports}

if [[ -z "${{SLURM_ARRAY_TASK_ID:-}}" ]]; then
  wanted=" ${{*:-{tiers}}} "
  submit() {{  # TIER CPUS MIB TASKS
    [[ "$wanted" == *" $1 "* ]] || return 0
    sbatch --array="1-$4" --cpus-per-task="$2" --mem="$3M" \\
      --export="ALL,SHARDLIFT_TIER=$1,WORKER_MEMORY=$3MiB" "$0"
  }}
{submits}
  exit
fi

# SIGTERM, of SLURM itself or a minute before the time limit, reaches the worker: it gives its
# message back, and the next worker goes on.
exec {command} --tier "$SHARDLIFT_TIER" --until-idle {idle}
"""


def render(workers: Workers) -> str:
    """The script."""
    image, command = workers.image, as_named("python -m consumer work")
    if image:
        command = f"apptainer run docker://{shlex.quote(image)} consumer work"
    return _SCRIPT.format(
        url=workers.names.url,
        prefix=workers.names.prefix,
        idle=workers.idle_s,
        exports="\n".join(
            f"export {name}={shlex.quote(value)}"
            for name, value in sorted(workers.environment.items())
        ),
        tiers=" ".join(tier.name for tier in workers.tiers),
        submits="\n".join(_submit(workers, tier) for tier in workers.tiers),
        command=command,
    )


def _submit(workers: Workers, tier: Tier) -> str:
    return f"  submit {tier.name} {tier.vcpus} {tier.limit_bytes // MIB} {workers.per_tier}"
