# %% [markdown]
# # The path of a byte
#
# A program in a box writes a block and asks that it be *safe*. What does the block pass on its way
# to the disk, and what does each station cost? **Is a container's disk as quick as the host's, and
# why is a machine's not?**
#
# | minutes | what you do |
# |---|---|
# | 0 – 8 | three paths, drawn |
# | 8 – 18 | **predict** how long until a block is safe |
# | 18 – 26 | **predict** what a queue is good for |
# | 26 – 36 | **predict** how many bytes one byte becomes |
# | 36 – 42 | cache modes: quick, or safe? |
# | 42 – 50 | exercises |
#
# Clear all outputs before you start.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import pandas as pd

from harness.analysis import (
    check_answers,
    check_guesses,
    demo,
    guesses_beside,
    medians,
    question,
    readable,
    speak,
)
from harness.report import figure, guess_figure, house_style

speak("en")
run = demo("io")
question(run)

# %% [markdown]
# ## 1 · Three paths

# %%
PATHS = {
    "plain process, volume": ["program", "file system", "block layer", "disk"],
    "container's own layer": ["program", "overlay", "file system", "block layer", "disk"],
    "virtual machine": [
        "program",
        "guest's file system",
        "guest's block layer",
        "virtio queue",
        "QEMU: disk image",
        "file system",
        "block layer",
        "disk",
    ],
}
HEIGHT = {"file system": -5, "block layer": -6, "disk": -7}
GUEST = {"guest's file system", "guest's block layer", "virtio queue"}

with house_style():
    picture, axes = plt.subplots(figsize=(8, 3.9))
    for column, (title, stations) in enumerate(PATHS.items()):
        axes.text(column, 0.9, title, ha="center", weight="bold")
        for place, station in enumerate(stations):
            colour = "#0B8457" if station in GUEST else "#0072B2"
            colour = "#D55E00" if station in ("overlay", "QEMU: disk image") else colour
            axes.annotate(
                station,
                (column, HEIGHT.get(station, -place)),
                ha="center",
                va="center",
                color="white",
                bbox={"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"},
            )
    axes.set(xlim=(-0.6, 2.6), ylim=(-7.6, 1.4))
    axes.set_axis_off()

# %% [markdown]
# Read downwards. The same names stand at the same height, so what is *missing* at the left is what
# a machine adds.
#
# - **overlay** puts a box's own layer over the image's layers. A file of the image is copied into
#   the box's layer when it is first written (*copy on write*). After that it is a file like others.
# - **virtio** is a queue in memory that guest and QEMU share. The guest puts a request in and rings
#   a bell; each ring leaves the guest, and that is what costs.
# - **QEMU's disk image** is a file on the host: `raw`, where block 7 lies at place 7, or
#   `qcow2`, which grows as it is written and keeps a table of where everything is.
#
# All reads and writes here are *direct*: they pass by the page caches, or we would measure memory.
# The machines were **emulated**: their times are not a virtual machine's. Section 4 is about
# bytes, which an emulated machine writes for the same reasons as any other.

# %% [markdown]
# ## 2 · Predict: safe
#
# A program writes one small block and calls `fsync`, which returns when the disk has said that the
# block would survive a power cut. How long does the `fsync` take, in seconds?

# %%
guesses = {
    "bare": None,
    "docker": None,
    "docker,storage=volume": None,
    "qemu": None,
}
checked = check_guesses(run, "io.fsync.latency", guesses, depth="1", quantile="0.5")
guess_figure(checked)

# %%
readable(checked)

# %%
figure(run, "disk-fsync")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Jail and containers lie within a fifth of bare metal, and nearly all intervals overlap with its
#   own. Between a layer and a volume nothing is told apart: on files that exist already, overlay
#   is not on the way of the data. It costs when a file is opened, and at the first write to a file
#   of the image.
# - The advice to “use a volume for speed” is not borne out here. (It may be for other reasons.)
# - An `fsync` as quick as these says something of the *disk*: this host's is virtual itself, and
#   what it promises about a power cut is known to its provider only.
#
# </details>

# %% [markdown]
# ## 3 · Predict: the queue
#
# One reader that waits for each block before it asks for the next: depth 1. Now it keeps sixteen
# requests under way. How many reads a second, for bare metal and for the emulated machine?

# %%
shallow = medians(run, "io.randread.iops", depth="1")
deep = medians(run, "io.randread.iops", depth="16")
both = pd.concat({"depth 1": shallow, "depth 16": deep})
both.index = [f"{name}, {depth}" for depth, name in both.index]
both.attrs = shallow.attrs

guesses = {
    "bare, depth 1": None,
    "bare, depth 16": None,
    "qemu, depth 1": None,
    "qemu, depth 16": None,
}
guess_figure(guesses_beside(both, guesses))

# %%
latency = medians(run, "io.randread.latency", depth="1", quantile="0.5")["median"]
law = pd.DataFrame({"reads a second": shallow["median"], "time of one, s": latency})
law["product"] = law["reads a second"] * law["time of one, s"]
law["gain of depth 16"] = deep["median"] / shallow["median"]
law[["product", "gain of depth 16"]].round(2)

# %%
figure(run, "disk-rates")

# %% [markdown]
# **The product is about 1.** That is Little's law: what is under way equals the rate times the time
# that each takes, and at depth 1 one request is under way. It is a check that you can make on
# any figure of storage: rate and latency that do not fit were not measured together. (The law is
# about the *mean* time. A median stands in for it here: it is less than the mean where a few
# requests take far longer than the rest, as on the emulated disk, and the product falls below 1.)
#
# And the gain? Sixteen under way do not give sixteen times as much. While one request is on the
# disk, others are prepared, until something is busy all the time.

# %% [markdown]
# ## 4 · Predict: how many bytes does one become?
#
# Back to small writes with `fsync`. For each byte that the program wrote, how many did the host's
# disk write? `1` is none too many.

# %%
job = {"job": "fsync", "depth": "1"}
written = medians(run, "io.bytes", **job)
on_disk = medians(run, "io.device_bytes", **job)["median"]
factor = written[["class", "emulated"]].assign(factor=on_disk / written["median"])
guesses = {
    "bare": None,
    "docker": None,
    "qemu,storage=raw": None,
    "qemu": None,
}
guess_figure(guesses_beside(factor, guesses, "factor"))

# %%
calls = medians(run, "io.fsync.calls")["median"]
flushes = medians(run, "io.fsync.flushes")["median"]
factor[["factor"]].assign(**{"flushes an fsync": flushes / calls}).round(2)

# %% [markdown]
# `qemu` alone has a `qcow2` image, `qemu,storage=raw` a raw one.
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - For processes and containers hardly more reaches the disk than was written.
# - In a machine **two file systems** keep a journal: the guest's and the host's. A block that is to
#   be safe in the guest is written with the guest's journal, and all of it lands in a file
#   of the host.
# - `qcow2` adds its table to that.
# - A flush of the guest becomes a flush of the host, and there are more flushes than calls.
# - The reasons hold on hardware too: they are about *bytes*, not time. The factor need not be the
#   same: a quicker guest may gather more in one journal entry.
#
# </details>

# %% [markdown]
# ## 5 · Quick, or safe?
#
# A machine's disk has a *cache mode*. With `cache=none`, as here, QEMU passes by the host's page
# cache. With `cache=writeback` what the guest writes first goes to the host's memory, and a flush
# takes it to the disk. With `cache=unsafe` even the flush is ignored.
#
# Somebody shows you a machine whose disk is quicker than the host's. Which of these do you suspect?
# And what of this, from our own run (bytes a second, large reads one after the other)?

# %%
big = medians(run, "io.seqread.bandwidth")
moved = medians(run, "io.device_bytes", job="seqread", depth="4")["median"]
asked = medians(run, "io.bytes", job="seqread", depth="4")["median"]
table = (big[["median", "low", "high"]] / 2**20).round(0).loc[["bare", "docker", "qemu"]]
table.assign(**{"from the disk": (moved / asked).round(2)}).rename_axis("MiB a second")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# An emulated machine reads more quickly than bare metal? The first suspect is the host's page
# cache. The last column clears it: all bytes came from the host's disk. So it is something below:
# the host's disk is itself virtual, and whoever stores it may hold the blocks that were just
# written in *its* memory. We cannot see it from here. **An unexplained result is to be shown as
# unexplained**, and tarebench gives no verdict on an emulated machine in any case.
#
# </details>

# %% [markdown]
# ## 6 · Exercises
#
# - **one in flight**: the product of rate and latency of `docker` at depth 1.
# - **gain**: how many times as many reads a second does `bare` do at depth 16?
# - **table**: how many times the bytes of a raw image does a `qcow2` image write for one byte?
#   (from `factor`)
# - **apart**: the names of the boxes whose `fsync` interval does *not* overlap that of `bare`, as a
#   set.

# %%
answers = {
    "one in flight": None,
    "gain": None,
    "table": None,
    "apart": None,
}
safe = medians(run, "io.fsync.latency", depth="1", quantile="0.5")
alone = (safe["low"] > safe["high"]["bare"]) | (safe["high"] < safe["low"]["bare"])
right = {
    "one in flight": float(law["product"]["docker"]),
    "gain": float(law["gain of depth 16"]["bare"]),
    "table": float(factor["factor"]["qemu"] / factor["factor"]["qemu,storage=raw"]),
    "apart": set(safe.index[alone]),
}
check_answers(answers, right)

# %% [markdown]
# Then **one sentence**: is a container's disk as quick as the host's? With an interval.

# %% [markdown]
# ## 7 · Your own machine
#
# Where `tarebench doctor` says that fio and a container runtime work (root), measure your own disk.
# Set the flag to True and **predict first**: is your `fsync` quicker or slower than ours? A cheap
# disk that is *much* quicker may not keep its promise.

# %%
MEASURE = False

if MEASURE:
    import subprocess
    import sys

    from IPython.display import display

    from harness.analysis import load

    command = [sys.executable, "-m", "harness.cli", "run", "io"]
    command += ["--runtime", "bare", "--runtime", "runc", "--repeat", "5"]
    folder = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    display(figure(load(folder), "disk-fsync"))
