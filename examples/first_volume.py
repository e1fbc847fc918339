# %% [markdown]
# # A first volume
#
# Makes a small export as DVID writes it, converts it with all its scales, checks it, and looks at
# it.
# With an export of your own, leave the first step out and name its folder and its spec.

# %%
import tempfile

import shardlift

folder = tempfile.mkdtemp(prefix="first-volume-")
export = shardlift.demo_export(folder)
print(export.source)

# %% [markdown]
# ## Try it first
#
# Some of the shards, here those of a box of voxels.
# The whole goes on from them.

# %%
dest = f"{folder}/volume"
queue = f"sqlite:{folder}/queue.db"  # without it: .braid/queue.db in the working directory
pyramid = {"scales": [0], "downres": [1, 2], "tiers": "0.5,1", "queue": queue}
trial = shardlift.convert(export.source, dest, export.spec, bbox="0:128,0:128,0:64", **pyramid)
trial.wait()
trial

# %% [markdown]
# ## Then all
#
# `convert` plans and publishes, `wait` runs workers on this machine until the run has ended.

# %%
run = shardlift.convert(export.source, dest, export.spec, **pyramid)
status = run.wait(progress=True)
print(f"{status.done} of {status.total} shards, {status.chunks_per_s:,.0f} chunks a second")
run

# %% [markdown]
# ## Check it
#
# Every shard file is read whole, and some chunks are compared with the export, voxel for voxel.

# %%
found = run.verify(values=20, deep=True)
assert found.ok, found.findings
print(f"{found.checked.shards} shards are right")

# %% [markdown]
# ## Read it
#
# The volume is an ordinary Neuroglancer volume, so every reader of these opens it.

# %%
import tensorstore as ts

spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{dest}", "scale_index": 0}
volume = ts.open(spec).result()
block = volume[64:128, 64:128, 64:128, 0].read().result()
print(volume.domain, "labels in a block:", len(set(block.ravel().tolist())))

# %% [markdown]
# ## Look at it
#
# In a notebook, `run.view()` at the end of a cell shows Neuroglancer below it, until its `close()`.

# %%
with run.view() as view:
    print(view.url, view.summary)
