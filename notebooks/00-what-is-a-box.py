# %% [markdown]
# # What is a box?
#
# The same program can run straight on a machine, in a jail, in a container or in a virtual machine.
# From inside it hardly notices. **What lies between a program and the hardware, how much of it do
# boxes share, and how could you tell from measurements?**
#
# This is where the lessons begin. You need nothing but Python with tarebench installed.
#
# | minutes | what you do |
# |---|---|
# | 0 – 10 | three architectures, and none |
# | 10 – 17 | whose kernel? |
# | 17 – 26 | **predict** who executes the instructions |
# | 26 – 33 | **predict** who answers a system call |
# | 33 – 40 | **predict** what a layer weighs |
# | 40 – 45 | exercises |
#
# Work in pairs. Clear all outputs before you start, and go from top to bottom with Shift+Enter.

# %%
# %matplotlib inline
import pandas as pd

from harness.analysis import (
    check_answers,
    check_guesses,
    demo,
    fact_table,
    guesses_beside,
    medians,
    ratios,
    readable,
    speak,
)
from harness.report import architecture_figure, figure, guess_figure

pd.set_option("display.max_colwidth", None)
speak("en")
isolation, cpu, memory = demo("isolation"), demo("cpu"), demo("memory")
architecture_figure()

# %% [markdown]
# ## 1 · Three architectures, and none
#
# Read each column from below, like a house. Two programs stand at the top of each.
#
# - **No box, and a jail.** A process is what the kernel keeps apart by itself: memory of its own,
#   a user, a priority. The one on the right has been given another folder as its `/`. That is all
#   that a `chroot` jail is.
# - **OS-level virtualization.** One kernel, and it shows each box another view: other files, other
#   processes, another network; and it counts and limits what each uses. A *container*.
# - **Full virtualization, hosted.** A program, the machine monitor, plays a whole computer. In
#   it a kernel starts as it would on hardware, and does not know better.
# - **Hardware-level virtualization.** The same, with nothing below the machines but a *hypervisor*,
#   which does nothing else.
#
# Names do not always fit one column. KVM stands in the last, for the guest's instructions run on
# the processor under a hypervisor's control. But that hypervisor is a part of the Linux kernel, and
# beside it other programs run, as in the third.
#
# **Point at the drawing, in pairs:**
#
# 1. Which layer would have to fail for one program to harm the other?
# 2. Which layers are paid for once, and which once for each box?
# 3. In which columns can one box run Linux, and the other Windows?
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - The topmost layer that is as wide as its column: the host's kernel, or the hypervisor. In
#   the third column the monitor has to fail first, and the host's kernel then.
# - As wide as the column: once. Half as wide: for each.
# - Where there is a kernel for each. A container brings files, another distribution's if it likes,
#   but the kernel is the host's.
#
# </details>

# %% [markdown]
# ## 2 · Whose kernel?
#
# A drawing claims. Can it be checked? A probe went into each of these boxes and asked: which kernel
# answers me, of which views do I have one of my own, and how many of the host's processes do I
# see?

# %%
facts = fact_table(isolation)
asked = ["kernel", "namespace", "processes.root"]
boxes = ["bare", "chroot", "crun", "docker", "qemu"]
facts.loc[asked].set_index("what")[boxes].T.rename_axis(columns=None)

# %% [markdown]
# `bare` is a plain process. `crun` is a small program that makes a container; Docker is the service
# that you know. `qemu` is a machine monitor. Find each of them in the drawing.
#
# And where was it measured? A number without its machine is a rumour:

# %%
host = cpu.manifest["host"]
pd.Series(
    {
        "processor": host["cpu_model"],
        "number of cores": host["cores"],
        "its kernel": host["kernel"],
        "itself a virtual machine": "yes" if host["hypervisor"] else "no",
        "itself in a container": host["container"] or "no",
    },
    name="the host",
).to_frame()

# %% [markdown]
# Boxes can stand in boxes. Our “bare metal” means *no box of ours*; what is below it, somebody else
# has built. Most servers that you can rent are like this.

# %% [markdown]
# ## 3 · Predict: who executes the instructions?
#
# A program computes: it looks for prime numbers, and asks nobody for anything. How quickly, in each
# box, **as a share of bare metal**? (1 is equally quickly, 0.5 is half.)
#
# `qemu` stands in the third column. On this host its machine could not use the processor: the
# monitor *emulated* one. Guess what that costs.

# %%
guesses = {
    "chroot": None,
    "crun": None,
    "docker": None,
    "qemu": None,
}
computing = {"test": "sysbench cpu", "threads": "1"}


def beside_bare(metric: str, **dimensions: str) -> pd.DataFrame:
    """Each box as a share of bare metal, paired within blocks, with what kind of box it is."""
    table = ratios(cpu, metric, over="bare", **dimensions)
    table[["class", "emulated"]] = medians(cpu, metric, **dimensions)[["class", "emulated"]]
    return table


speed = beside_bare("cpu.events", **computing)
guess_figure(guesses_beside(speed, guesses, "ratio"))

# %%
readable(guesses_beside(speed, guesses, "ratio"))

# %% [markdown]
# Now all that was measured of the processor. A dot is a block, one pass over all the boxes; the
# scale is one of shares of bare metal.

# %%
figure(cpu, "computing")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - While a program computes, a container is *not there*. Nothing in the blue layer of the drawing
#   lies on the way from an instruction to the processor. So there is nothing that could cost.
# - Does that prove “exactly as quick”? Look at the interval: the truth lies in it, and how wide it
#   is depends on how quiet the host was.
# - In a virtual machine whose guest runs *on* the processor, most instructions are executed by it
#   as well. The emulated machine is another thing: its monitor reads each instruction of the guest
#   and does it by program. What you see is the price of emulation. **It says nothing of virtual
#   machines with the hardware's help.**
#
# </details>

# %% [markdown]
# ## 4 · Predict: who answers a system call?
#
# Now a program that computes nothing and only asks its kernel, again and again, for next to
# nothing. How many answers a second, as a share of bare metal?

# %%
guesses = {
    "crun": None,
    "docker": None,
    "qemu": None,
}
asking = beside_bare("cpu.syscalls", test="stress-ng null", threads="1")
guess_figure(guesses_beside(asking, guesses, "ratio"))

# %%
readable(guesses_beside(asking, guesses, "ratio"))

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - In a container the host's kernel answers, by the same way as everybody. It looks up what *this*
#   process may see, and that is what it does for every process.
# - Docker adds a filter (*seccomp*) that is asked before each call. Whether that can be seen here,
#   the interval says: if it holds the 1, these data do not decide.
# - In a machine its own kernel answers, and the host does not hear of it. With the hardware's help
#   that is about as quick as on the host. Here also this kernel is emulated.
#
# </details>

# %% [markdown]
# ## 5 · Predict: what does a layer weigh?
#
# What is half as wide in the drawing, each box has for itself. How much memory does one more box
# take, that does nothing but wait? In bytes; a MiB is `MIB`.

# %%
MIB = 2**20
guesses = {
    "crun": None,
    "docker": None,
    "qemu": None,
}
weight = check_guesses(memory, "memory.charged", guesses, state="idle")
guess_figure(weight)

# %%
readable(weight)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - The blue layer is made of entries in the kernel's tables. It weighs next to nothing.
# - The same container asked for at Docker weighs more. What is heavier is not in the drawing: a
#   helper that Docker keeps beside each box.
# - A kernel of its own is a program with memory of its own, and so is the monitor below it. (That
#   of an emulated machine also keeps its translations. Lesson 03 takes the number apart.)
#
# </details>
#
# So a box is **a decision about which layers to share**. What is shared costs once and can fail
# for all. What is not shared costs each time and fails alone. The lessons that follow put numbers
# to both sides: time (01, 02), memory and money (03, 04), the disk (05), the neighbour (06), what
# is kept apart (07), and how to be wrong about all of it (08).

# %% [markdown]
# ## 6 · Exercises
#
# Which column of the drawing do these belong to: `"a"`, `"b"`, `"c"` or `"d"`, from left to
# right? Then two to count, and two from the tables.
#
# - **Solaris Zones**, **VMware Workstation**, **VMware ESXi**, **chroot**: a letter each.
# - **ten containers**: how many kernels run on a host with ten containers?
# - **ten machines**: how many with ten machines, hosted as in the third column?
# - **own kernel**: the names of all boxes in `facts` that have a kernel of their own, as a set.
# - **emulated**: how many times as quickly as the emulated machine does bare metal compute?

# %%
answers = {
    "Solaris Zones": None,
    "VMware Workstation": None,
    "VMware ESXi": None,
    "chroot": None,
    "ten containers": None,
    "ten machines": None,
    "own kernel": None,
    "emulated": None,
}
kernel = medians(isolation, "isolation.kernel")["median"]
right = dict(zip(list(answers)[:4], "bcda", strict=True)) | {
    "ten containers": 1,
    "ten machines": 1 + 10,
    "own kernel": set(kernel.index[kernel == 1]),
    "emulated": float(1 / speed["ratio"]["qemu"]),
}
check_answers(answers, right)

# %% [markdown]
# Then **one sentence**: what is a container, for somebody who knows what a process is?

# %% [markdown]
# ## 7 · Your own machine
#
# What do *you* run in? Set the flag to True. Predict first: is there a box around this notebook?

# %%
MEASURE = False

if MEASURE:
    import platform
    from pathlib import Path

    found = {"system": platform.platform()}
    if platform.system() == "Linux":
        found["the first process"] = Path("/proc/1/comm").read_text().strip()
        found["processes I see"] = sum(p.name.isdigit() for p in Path("/proc").iterdir())
        found["a hypervisor below"] = "hypervisor" in Path("/proc/cpuinfo").read_text()
        found["/ lies on"] = next(
            line.split()[2]
            for line in Path("/proc/mounts").read_text().splitlines()
            if line.split()[1] == "/"
        )
    print(pd.Series(found).to_string())

# %% [markdown]
# If the first process is no `init` or `systemd`, if you see few others and `/` lies on an overlay,
# then you are most likely in a container. On macOS and Windows, Docker's containers are in a Linux
# machine that Docker keeps for them: boxes in a box.
