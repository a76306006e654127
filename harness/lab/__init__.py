"""The lab: a whole machine in software, with virtualization extensions, on any host.

QEMU's software emulation includes AMD's virtualization extensions with nested paging, so the
true kvm_amd module and the true Xen hypervisor run in a machine that it emulates. What needs
them, or systemd, or pure control groups v2, can so be executed where the host has none of it.
Nothing that is timed here says anything about hardware; a guard inside says so.
"""
