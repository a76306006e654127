"""The one root filesystem: built once, known by its digest, and its derived forms.

`build.build` makes it, `store.find` finds it again in milliseconds, `forms` derives what a
runtime boots from (ext4, overlay, initramfs), `guest` fetches the guests' kernel, and
`manifest` says in which paths two trees differ. Nothing here knows any runtime.
"""
