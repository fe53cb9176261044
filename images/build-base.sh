#!/bin/sh
# Makes the base image flyteplugins-codegen-base:pyX.Y from Debian's packages, where no image registry can be reached.
# Needs root and a running Docker engine. Does nothing where the image is there already (--force makes it anew).
set -eu

suite=bookworm
version=3.11  # the Python of that release
image=flyteplugins-codegen-base:py$version
cache=${XDG_CACHE_HOME:-$HOME/.cache}/flyteplugins-codegen/images
tarball=$cache/base-$suite-py$version-$(dpkg --print-architecture 2>/dev/null || uname -m).tar

if [ "${1:-}" != --force ] && docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image is there already"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "build-base.sh needs root: debootstrap makes device files and files of other users." >&2
    exit 1
fi

# The mirror that this machine installs its own packages from; debootstrap's default where it names none.
mirror() {
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        found=$(sed -n -e 's/^URIs: *\(http[^ ]*\).*/\1/p' -e 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\(http[^ ]*\).*/\2/p' \
            "$file" | grep '/debian/*$' | head -n 1)
        if [ -n "$found" ]; then
            echo "$found"
            return
        fi
    done
}

make_tarball() {
    if ! command -v debootstrap >/dev/null 2>&1; then
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends debootstrap >/dev/null
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    # Unpacking is most of the work, and a file system that is thrown away need not survive a crash.
    # shellcheck disable=SC2046 # no mirror, no argument
    $(command -v eatmydata || true) debootstrap --variant=minbase \
        --include=python3,python3-venv,ca-certificates $([ -f "$keyring" ] && echo "--keyring=$keyring") \
        "$suite" "$work/root" $(mirror) >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        return 1
    }
    # A mirror of this machine's serves apt in the image too; nothing else is worth keeping.
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* "$work"/root/var/cache/apt/*.bin \
        "$work"/root/usr/share/doc/* "$work"/root/usr/share/man/* "$work"/root/usr/share/locale/* \
        "$work"/root/var/log/*.log "$work"/root/var/log/apt
    # The engine mounts these itself.
    find "$work/root/dev" "$work/root/proc" "$work/root/sys" -mindepth 1 -delete 2>/dev/null || true
    # The interpreter's own modules are compiled once, here, rather than at each start of a read-only container.
    chroot "$work/root" /usr/bin/python3 -m compileall -q /usr/lib/python$version >/dev/null 2>&1 || true
    mkdir -p "$cache"
    tar -C "$work/root" --numeric-owner --sort=name -cf "$tarball.part" .
    mv "$tarball.part" "$tarball"
}

if [ ! -f "$tarball" ] || [ "${1:-}" = --force ]; then
    make_tarball
fi
docker import --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' \
    --change 'LABEL flyteplugins-codegen=base' "$tarball" "$image" >/dev/null
echo "Made $image"
