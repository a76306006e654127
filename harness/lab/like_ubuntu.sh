# What Ubuntu does otherwise and Debian's packages can show: run while the disk is made, with its
# tree as $1.
set -e

# Nobody has Debian's keyring. apt, which asks for that package, is content with Ubuntu's.
keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
cp "$1"/usr/share/keyrings/debian-archive-keyring.gpg "$1$keys"
mkdir -p "$1"/tmp/keyring/DEBIAN
cat > "$1"/tmp/keyring/DEBIAN/control <<EOF
Package: ubuntu-keyring
Version: 1
Architecture: all
Maintainer: the lab
Provides: debian-archive-keyring
Description: whose keys apt trusts
EOF
chroot "$1" dpkg-deb --build /tmp/keyring
chroot "$1" dpkg --install /tmp/keyring.deb
chroot "$1" dpkg --purge debian-archive-keyring
rm -r "$1"/tmp/keyring "$1"/tmp/keyring.deb

# The sources are a file of the newer format, signed by that keyring.
sed -E -n "s|^deb (\[[^]]*\] )?(\S+) (\S+) (.*)|Types: deb\nURIs: \2\nSuites: \3\nComponents: \4\nSigned-By: $keys\n|p" \
    "$1"/etc/apt/sources.list > "$1"/etc/apt/sources.list.d/ubuntu.sources
rm "$1"/etc/apt/sources.list

# Only root reads the kernel, and what AppArmor leaves unconfined may not leave it for a profile.
chmod 600 "$1"/boot/vmlinuz-* "$1"/boot/System.map-*
echo kernel.apparmor_restrict_unprivileged_unconfined=1 > "$1"/etc/sysctl.d/10-apparmor.conf

# sudo is the one that is written in Rust, whose package has no rules.
ln -s sudo-rs "$1"/usr/bin/sudo
cat > "$1"/etc/sudoers <<EOF
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
%sudo ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
EOF
chmod 440 "$1"/etc/sudoers

cat > "$1"/usr/lib/os-release <<EOF
PRETTY_NAME="Debian GNU/Linux 13, like Ubuntu"
NAME="Ubuntu"
ID=ubuntu
ID_LIKE=debian
VERSION_ID="26.04"
EOF
